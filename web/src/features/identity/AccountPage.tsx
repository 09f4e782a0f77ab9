import { Alert, Anchor, Badge, Button, Code, Group, PasswordInput, Select, SegmentedControl, Stack, Table, Text, TextInput, useMantineColorScheme } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { amend, read, remove, send } from "../../api/client";
import type { Page, SecondFactor, Session } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { Confirm, Copyable, Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";

/** One's own account: name and preferences, password, second factor, sessions. */
export function AccountPage() {
  return (
    <Stack gap="sm" maw={860}>
      <Heading title={text.account} />
      <Profile />
      <Password />
      <Factor />
      <Sessions />
    </Stack>
  );
}

function Profile() {
  const { account } = useScene();
  const client = useQueryClient();
  const { setColorScheme } = useMantineColorScheme();
  const [name, setName] = useState(account.user?.name ?? "");
  const [timezone, setTimezone] = useState<string | null>(account.user?.timezone ?? "UTC");
  const [home, setHome] = useState<string | null>((account.user?.preferences.default_organization as string | undefined) ?? null);
  const [theme, setTheme] = useState((account.user?.preferences.theme as string | undefined) ?? "system");
  const [isSaved, setSaved] = useState(false);
  const attempt = useAttempt();
  const submit = async () => {
    setSaved(false);
    await amend("/api/identity/me", { name, timezone, preferences: { theme, default_organization: home } });
    setColorScheme(theme === "system" ? "auto" : (theme as "light" | "dark"));
    setSaved(true);
    await client.invalidateQueries({ queryKey: ["account"] });
  };
  return (
    <Panel title={text.profile}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="xs">
          <Group grow align="start">
            <TextInput label={text.name} autoComplete="name" maxLength={200} value={name} onChange={(event) => setName(event.currentTarget.value)} />
            <Select label={text.timezone} searchable allowDeselect={false} limit={60} value={timezone} onChange={setTimezone} data={[...new Set(["UTC", timezone ?? "UTC", ...Intl.supportedValuesOf("timeZone")])]} />
          </Group>
          {account.organizations.length > 1 && <Select label={text.homeOrganization} clearable value={home} onChange={setHome} data={account.organizations.map((item) => ({ value: item.slug, label: item.name }))} />}
          <div><Text size="sm" fw={500} id="theme">{text.appearance}</Text>
            <SegmentedControl size="xs" aria-labelledby="theme" value={theme} onChange={setTheme} data={[{ value: "light", label: text.light }, { value: "dark", label: text.dark }, { value: "system", label: text.system }]} /></div>
          <Group gap="sm"><Button size="xs" type="submit" loading={attempt.busy}>{text.save}</Button>{isSaved && <Text size="sm" className="good" role="status">{text.saved}</Text>}{attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}</Group>
        </Stack>
      </form>
    </Panel>
  );
}

function Password() {
  const client = useQueryClient();
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const attempt = useAttempt();
  const { fault } = attempt;
  const [isDone, setDone] = useState(false);
  const submit = async () => {
    setDone(false);
    await send("/api/identity/me/password", { current_password: current, new_password: next });
    setCurrent("");
    setNext("");
    setDone(true);
    await client.invalidateQueries({ queryKey: ["sessions"] });
  };
  return (
    <Panel title={text.changePassword}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="xs">
          <Group grow align="start">
            <PasswordInput label={text.currentPassword} autoComplete="current-password" required value={current} error={fault?.of("current_password")} onChange={(event) => setCurrent(event.currentTarget.value)} />
            <PasswordInput label={text.newPassword} autoComplete="new-password" required value={next} error={fault?.of("new_password") ?? fault?.of("password")} onChange={(event) => setNext(event.currentTarget.value)} />
          </Group>
          {fault && !fault.problem.errors?.length && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
          {isDone && <Text size="sm" className="good" role="status">{text.passwordChanged}</Text>}
          <div><Button size="xs" type="submit" loading={attempt.busy}>{text.changePassword}</Button></div>
        </Stack>
      </form>
    </Panel>
  );
}

function Factor() {
  const client = useQueryClient();
  const factor = useQuery({ queryKey: ["second-factor"], queryFn: () => read<SecondFactor>("/api/identity/me/second-factor") });
  const [enrolment, setEnrolment] = useState<{ secret: string; otpauth_uri: string } | null>(null);
  const [codes, setCodes] = useState<string[] | null>(null);
  const [code, setCode] = useState("");
  const [isLeaving, setLeaving] = useState(false);
  const attempt = useAttempt();
  const { fault } = attempt;
  const change = async (act: () => Promise<void>) => {
    await act();
    await client.invalidateQueries({ queryKey: ["second-factor"] });
  };
  const confirm = () => change(async () => {
    setCodes((await send<{ recovery_codes: string[] }>("/api/identity/me/second-factor/confirm", { code })).recovery_codes);
    setEnrolment(null);
    setCode("");
  });
  const press = (act: () => Promise<void>) => () => void attempt.run(() => change(act));
  if (factor.isError) return <Panel title={text.secondFactor}><Problem error={factor.error} retry={() => void factor.refetch()} /></Panel>;
  return (
    <Panel title={text.secondFactor}>
      <Stack gap="xs">
        <Text size="sm">{factor.data?.is_enrolled ? text.factorOn(String(factor.data.recovery_codes_left)) : text.factorLead}</Text>
        {codes && (
          <Alert color="blue" variant="light" title={text.recovery}>
            <Text size="sm" mb="xs">{text.recoveryLead}</Text>
            <div data-secret><Code block tabIndex={0} aria-label={text.recovery}>{codes.join("\n")}</Code></div>
            <Group mt="xs"><Copyable value={codes.join("\n")} label={text.recovery} /><Button size="compact-sm" onClick={() => setCodes(null)}>{text.done}</Button></Group>
          </Alert>
        )}
        {enrolment ? (
          <form onSubmit={(event) => onSubmit(event, attempt, confirm)}>
            <Stack gap="xs">
              <Text size="sm">{text.enrolLead}</Text>
              <div data-secret><Copyable value={enrolment.secret} /></div>
              <Anchor size="sm" underline="always" href={enrolment.otpauth_uri}>{text.openApp}</Anchor>
              <TextInput w={220} label={text.code.split(",")[0]} autoComplete="one-time-code" inputMode="numeric" required value={code} error={fault?.of("code") ?? fault?.message} onChange={(event) => setCode(event.currentTarget.value)} />
              <Group><Button size="xs" type="submit" loading={attempt.busy}>{text.confirm}</Button><Button size="xs" variant="default" onClick={() => setEnrolment(null)}>{text.cancel}</Button></Group>
            </Stack>
          </form>
        ) : (
          <Group>
            {factor.data && !factor.data.is_enrolled && <Button size="xs" loading={attempt.busy} onClick={press(async () => setEnrolment(await send("/api/identity/me/second-factor")))}>{text.enrol}</Button>}
            {factor.data?.is_enrolled && <Button size="xs" variant="default" loading={attempt.busy} onClick={press(async () => setCodes((await send<{ recovery_codes: string[] }>("/api/identity/me/second-factor/recovery-codes")).recovery_codes))}>{text.newCodes}</Button>}
            {factor.data?.is_enrolled && <Button size="xs" variant="default" className="bad" onClick={() => setLeaving(true)}>{text.takeAway}</Button>}
            {fault && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
          </Group>
        )}
      </Stack>
      <Confirm opened={isLeaving} title={text.takeAway} lead={text.takeAwayLead} onClose={() => setLeaving(false)} onDone={() => void factor.refetch()} act={() => remove("/api/identity/me/second-factor")} />
    </Panel>
  );
}

function Sessions() {
  const { zone } = useScene();
  const sessions = useQuery({ queryKey: ["sessions"], queryFn: () => read<Page<Session>>("/api/identity/sessions") });
  const [ended, setEnded] = useState<Session | null>(null);
  const [isAll, setAll] = useState(false);
  const again = () => void sessions.refetch();
  return (
    <Panel title={text.sessions} aside={<Button size="compact-xs" variant="default" onClick={() => setAll(true)}>{text.endAll}</Button>}>
      {sessions.isError ? <Problem error={sessions.error} retry={again} /> : (
        <List name={text.sessions} minWidth={560} isLoading={sessions.isPending} columns={[text.browser, text.address, text.created, text.lastUsed, ""]}>
          {sessions.data?.items.map((session) => (
            <Table.Tr key={session.id}>
              <Table.Td className="cut" title={session.user_agent ?? undefined}>{session.user_agent ?? "–"}</Table.Td>
              <Table.Td>{session.ip_address ?? "–"}</Table.Td>
              <Table.Td>{instant(session.created_at, zone)}</Table.Td>
              <Table.Td>{instant(session.last_accessed_at, zone)}</Table.Td>
              <Table.Td className="right">{session.is_current ? <Badge size="sm" variant="dot" color="teal">{text.current}</Badge> : <Button size="compact-xs" variant="default" onClick={() => setEnded(session)}>{text.end}</Button>}</Table.Td>
            </Table.Tr>
          ))}
        </List>
      )}
      <Confirm opened={ended !== null} title={text.end} lead={ended?.user_agent ?? ""} onClose={() => setEnded(null)} onDone={again} act={() => remove(`/api/identity/sessions/${ended?.id}`)} />
      <Confirm opened={isAll} title={text.endAll} lead={text.endAllLead} onClose={() => setAll(false)} onDone={again} act={() => send("/api/identity/sessions/sign-out-everywhere", { keep_current: true })} />
    </Panel>
  );
}
