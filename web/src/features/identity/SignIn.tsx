import { Alert, Button, Center, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { ApiError, send } from "../../api/client";
import type { Account } from "../../api/types";
import { text } from "../../app/text";

/** The way in. What was typed stays on failure, and the server's own message says what to do. */
export function SignIn({ then }: { then: () => void }) {
  const client = useQueryClient();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFault(null);
    try {
      const account = await send<Account>("/api/identity/sign-in", { email, password });
      client.setQueryData(["account"], account);
      then();
    } catch (error) {
      setFault(error instanceof ApiError ? error.problem.detail : String(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Center component="main" mih="100vh" p="md">
      <Paper withBorder p="xl" w={360} radius="md">
        <form onSubmit={(event) => void submit(event)}>
          <Stack>
            <div>
              <Title order={1} size="h2">Nexus</Title>
              <Text c="dimmed" size="sm">{text.signIn} {text.signInLead}.</Text>
            </div>
            <TextInput label={text.email} name="email" autoComplete="username" required autoFocus value={email} onChange={(event) => setEmail(event.currentTarget.value)} />
            <PasswordInput label={text.password} name="password" autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.currentTarget.value)} />
            {fault && <Alert color="red" variant="light" role="alert" p="xs">{fault}</Alert>}
            <Button type="submit" loading={busy} fullWidth>{text.signIn}</Button>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
