import { Alert, Anchor, Button, Center, Divider, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { ApiError, read, send } from "../../api/client";
import type { Account, Page } from "../../api/types";
import { text } from "../../app/text";

interface Challenge { challenge: string; expires_at: string }

/** The way in. What was typed stays on failure, and the server's own message says what to do. */
export function SignIn({ then }: { then: () => void }) {
  const client = useQueryClient();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [challenge, setChallenge] = useState<string | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const others = useQuery({ queryKey: ["sign-in-providers"], retry: false, staleTime: Infinity, queryFn: () => read<Page<{ slug: string; name: string }>>("/api/identity/sign-in/providers") });
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFault(null);
    try {
      const answer = challenge
        ? await send<Account>("/api/identity/sign-in/second-factor", { challenge, code })
        : await send<Account | Challenge>("/api/identity/sign-in", { email, password });
      if ("challenge" in answer) setChallenge(answer.challenge);
      else {
        client.clear();
        then();
      }
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
              <Text c="dimmed" size="sm">{challenge ? `${text.secondStep}.` : `${text.signIn} ${text.signInLead}.`}</Text>
            </div>
            {challenge ? (
              <TextInput key="code" label={text.code} name="code" autoComplete="one-time-code" required autoFocus value={code} onChange={(event) => setCode(event.currentTarget.value)} />
            ) : (
              <>
                <TextInput label={text.email} name="email" autoComplete="username" required autoFocus value={email} onChange={(event) => setEmail(event.currentTarget.value)} />
                <PasswordInput label={text.password} name="password" autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.currentTarget.value)} />
              </>
            )}
            {fault && <Alert color="red" variant="light" role="alert" p="xs">{fault}</Alert>}
            <Button type="submit" loading={busy} fullWidth>{challenge ? text.goOn : text.signIn}</Button>
            {challenge && <Button variant="default" onClick={() => { setChallenge(null); setCode(""); setFault(null); }}>{text.back}</Button>}
            {!challenge && Boolean(others.data?.items.length) && <Divider />}
            {!challenge && others.data?.items.map((item) => <Anchor key={item.slug} size="sm" href={`/api/identity/sign-in/providers/${item.slug}/start`}>{item.name}</Anchor>)}
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
