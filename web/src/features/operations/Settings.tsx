import { Button, Group, Modal, Select, Skeleton, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { amend, read, remove, send } from "../../api/client";
import type { ConfigurationValue, OrganizationDetails, Page } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { BodySettings } from "../metering/BodySettings";

/** The organization's own settings, and the system's where one may see them. */
export function Settings() {
  const { may } = useScene();
  return (
    <Stack gap="sm" maw={920}>
      <Heading title={text.settings}>{may("organization:create") && <NewOrganization />}</Heading>
      <Organization />
      {may("bodies:manage") && <BodySettings />}
      {may("configuration:read") && <Configuration />}
    </Stack>
  );
}

function Organization() {
  const { organization } = useScene();
  const query = useQuery({ queryKey: ["organization", organization], queryFn: () => read<OrganizationDetails>("/api/identity/organization") });
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  return query.data ? <Details key={query.data.id} known={query.data} /> : <Skeleton h={214} />;
}

/** Begins with what is known; what is typed meanwhile is never overwritten by an answer. */
function Details({ known }: { known: OrganizationDetails }) {
  const { may } = useScene();
  const client = useQueryClient();
  const [name, setName] = useState(known.name);
  const [billing, setBilling] = useState(known.billing_email ?? "");
  const [zone, setZone] = useState<string | null>(known.reporting_zone);
  const [isSaved, setSaved] = useState(false);
  const attempt = useAttempt();
  const { fault } = attempt;
  const submit = async () => {
    setSaved(false);
    await amend("/api/identity/organization", { name, reporting_zone: zone, ...(billing ? { billing_email: billing } : {}) });
    setSaved(true);
    await Promise.all([client.invalidateQueries({ queryKey: ["organization"] }), client.invalidateQueries({ queryKey: ["account"] })]);
  };
  const isFixed = !may("organization:update");
  const of = (field: string) => fault?.of(field);
  return (
    <Panel title={text.organization}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="xs">
          <Group grow align="start">
            <TextInput label={text.organizationName} required maxLength={200} readOnly={isFixed} value={name} error={of("name")} onChange={(event) => setName(event.currentTarget.value)} />
            <TextInput label={text.billing} type="email" readOnly={isFixed} value={billing} error={of("billing_email")} onChange={(event) => setBilling(event.currentTarget.value)} />
          </Group>
          <Group grow align="start">
            <Select label={text.reportingZone} description={text.reportingLead} searchable allowDeselect={false} limit={60} readOnly={isFixed} value={zone} error={of("reporting_zone")} onChange={setZone} data={[...new Set(["UTC", zone ?? "UTC", ...Intl.supportedValuesOf("timeZone")])]} />
            <TextInput label={text.currency} description={text.currencyLead} readOnly value={known.currency} />
          </Group>
          {!isFixed && <Group gap="sm"><Button size="xs" type="submit" loading={attempt.busy}>{text.save}</Button>{isSaved && <Text size="sm" className="good" role="status">{text.saved}</Text>}{fault && !fault.problem.errors?.length && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}</Group>}
        </Stack>
      </form>
    </Panel>
  );
}

function NewOrganization() {
  const { go } = useScene();
  const client = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const [name, setName] = useState("");
  const [slug, setSlug] = useState("");
  const [currency, setCurrency] = useState("USD");
  const attempt = useAttempt();
  const { fault } = attempt;
  const submit = async () => {
    await send("/api/identity/organizations", { name, slug, currency });
    setOpen(false);
    await client.invalidateQueries({ queryKey: ["account"] });
    go({ organization: slug }, "/");
  };
  return (
    <>
      <Button size="xs" variant="default" onClick={() => setOpen(true)}>{text.newOrganization}</Button>
      <Modal opened={isOpen} onClose={() => setOpen(false)} title={text.newOrganization} closeButtonProps={{ "aria-label": text.close }}>
        <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
          <Stack>
            <TextInput autoFocus data-autofocus label={text.name} required value={name} error={fault?.of("name")} onChange={(event) => { setName(event.currentTarget.value); setSlug(event.currentTarget.value.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")); }} />
            <TextInput label={text.slug} required value={slug} error={fault?.of("slug")} onChange={(event) => setSlug(event.currentTarget.value)} />
            <TextInput label={text.currency} required maxLength={3} value={currency} error={fault?.of("currency")} onChange={(event) => setCurrency(event.currentTarget.value.toUpperCase())} />
            {fault && !fault.problem.errors?.length && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
            <Group justify="flex-end"><Button variant="default" onClick={() => setOpen(false)}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.create}</Button></Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

function Configuration() {
  const { may } = useScene();
  const query = useQuery({ queryKey: ["configuration"], queryFn: () => read<Page<ConfigurationValue>>("/api/operations/configuration") });
  const attempt = useAttempt();
  const change = async (act: () => Promise<unknown>) => {
    const isDone = await attempt.run(act);
    await query.refetch();
    return isDone;
  };
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  const mayWrite = may("configuration:write");
  return (
    <Panel title={text.systemConfiguration}>
      <Text size="sm" c="dimmed" mb="xs">{text.systemLead}</Text>
      {attempt.fault && <Problem error={attempt.fault} retry={attempt.forget} />}
      <List name={text.systemConfiguration} minWidth={620} isLoading={query.isPending} columns={[text.name, text.value, ""]}>
        {query.data?.items.map((item) => (
          <Table.Tr key={item.key}>
            <Table.Td>{item.key}<Text size="xs" c="dimmed">{item.description}</Text></Table.Td>
            <Table.Td w={220}><Value item={item} isFixed={!mayWrite} save={(value) => change(() => amend(`/api/operations/configuration/${item.key}`, { value }))} /></Table.Td>
            <Table.Td w={110}>{item.is_changed && mayWrite && <Button size="compact-xs" variant="default" aria-label={`${text.reset} ${item.key}`} onClick={() => void change(() => remove(`/api/operations/configuration/${item.key}`))}>{text.reset}: {String(item.default)}</Button>}</Table.Td>
          </Table.Tr>
        ))}
      </List>
    </Panel>
  );
}

function Value({ item, isFixed, save }: { item: ConfigurationValue; isFixed: boolean; save: (value: boolean | number | string) => Promise<boolean> }) {
  const [draft, setDraft] = useState<string | null>(null);
  const typed = draft ?? String(item.value);
  if (isFixed) return <>{String(item.value)}</>;
  if (typeof item.default === "boolean") return <Switch aria-label={item.key} checked={Boolean(item.value)} onChange={(event) => void save(event.currentTarget.checked)} />;
  const isNumber = typeof item.default === "number";
  return (
    <form onSubmit={(event) => { event.preventDefault(); void save(isNumber ? Number(typed) : typed).then((isKept) => { if (isKept) setDraft((now) => (now === typed ? null : now)); }); }}>
      <Group gap={6} wrap="nowrap">
        <TextInput size="xs" aria-label={item.key} inputMode={isNumber ? "decimal" : undefined} value={typed} onChange={(event) => setDraft(event.currentTarget.value)} />
        {typed !== String(item.value) && <Button size="compact-xs" type="submit" disabled={isNumber && (typed.trim() === "" || Number.isNaN(Number(typed)))}>{text.save}</Button>}
      </Group>
    </form>
  );
}
