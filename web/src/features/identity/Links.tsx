// What a one-time link opens. Its token stands behind the `#`, which no server log ever sees.
import { Alert, Anchor, Button, Center, Loader, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { send } from "../../api/client";
import { onSubmit, useAttempt } from "../../app/attempt";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";

const tokenOf = (): string => new URLSearchParams(window.location.hash.slice(1)).get("token") ?? "";

function Card({ title, children }: { title: string; children: ReactNode }) {
  return <Center component="main" mih="100vh" p="md"><Paper withBorder p="xl" w={380} radius="md"><Stack><Title order={1} size="h3">{title}</Title>{children}</Stack></Paper></Center>;
}

export function Invitation() {
  const [token] = useState(tokenOf);
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const attempt = useAttempt();
  const { fault } = attempt;
  const seen = useQuery({
    queryKey: ["invitation", token], enabled: Boolean(token), retry: false,
    queryFn: () => send<{ organization: string; email: string; role: string; needs_password: boolean }>("/api/identity/invitations/look", { token }),
  });
  const submit = async () => {
    await send("/api/identity/invitations/accept", { token, ...(seen.data?.needs_password ? { name, password } : {}) });
    window.location.assign(seen.data?.needs_password ? "/sign-in" : "/");
  };
  if (!token) return <Card title={text.join}><Text>{text.badLink}</Text></Card>;
  if (seen.isError) return <Card title={text.join}><Problem error={seen.error} retry={() => void seen.refetch()} /></Card>;
  if (!seen.data) return <Card title={text.join}><Loader aria-label={text.loading} /></Card>;
  return (
    <Card title={text.join}>
      <Text size="sm">{text.joinLead(seen.data.organization, seen.data.role)}</Text>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <TextInput label={text.email} value={seen.data.email} readOnly />
          {seen.data.needs_password && <>
            <TextInput label={text.yourName} name="name" autoComplete="name" value={name} onChange={(event) => setName(event.currentTarget.value)} />
            <PasswordInput label={text.password} name="password" autoComplete="new-password" required value={password} error={fault?.of("password")} onChange={(event) => setPassword(event.currentTarget.value)} />
          </>}
          {fault && !fault.of("password") && <Alert color="red" variant="light" role="alert" p="xs">{fault.message} {fault.code === "sign_in_to_accept" && <Anchor size="sm" href="/sign-in">{text.signInFirst}</Anchor>}</Alert>}
          <Button type="submit" loading={attempt.busy}>{text.join}</Button>
        </Stack>
      </form>
    </Card>
  );
}

export function ResetPassword() {
  const [token] = useState(tokenOf);
  const [password, setPassword] = useState("");
  const [isDone, setDone] = useState(false);
  const attempt = useAttempt();
  const { fault } = attempt;
  const submit = async () => {
    await send("/api/identity/password-reset", { token, password });
    setDone(true);
  };
  if (!token) return <Card title={text.setPassword}><Text>{text.badLink}</Text></Card>;
  if (isDone) return <Card title={text.setPassword}><Text>{text.passwordSet}</Text><Anchor href="/sign-in">{text.signIn}</Anchor></Card>;
  return (
    <Card title={text.setPassword}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <PasswordInput label={text.newPassword} name="password" autoComplete="new-password" required value={password} error={fault ? (fault.of("password") ?? fault.message) : undefined} onChange={(event) => setPassword(event.currentTarget.value)} />
          <Button type="submit" loading={attempt.busy}>{text.save}</Button>
        </Stack>
      </form>
    </Card>
  );
}
