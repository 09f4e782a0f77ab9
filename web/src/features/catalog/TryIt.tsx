import { Anchor, Autocomplete, Button, Code, Group, Loader, PasswordInput, SimpleGrid, Stack, Tabs, Text, Textarea } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { read } from "../../api/client";
import type { Call, Page } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { duration } from "../../app/format";
import { gatewayText as words } from "../../app/gatewayText";
import { Panel } from "../../app/parts";
import { rfc } from "../../app/range";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";
import { Attempts } from "../metering/Attempts";
import { placeOf } from "../metering/callPlace";
import { chatOf, curlOf, pythonOf } from "./ways";

interface Answer { status: number; requestId: string | null; said: string | null; raw: string; headersMs: number; totalMs: number; at: number }

/** What an answer in OpenAI's format says: its text, or why there is none. */
function saidIn(raw: string): string | null {
  try {
    const body = JSON.parse(raw) as { choices?: { message?: { content?: unknown } }[]; error?: { message?: unknown }; detail?: unknown } | null;
    const found = body?.choices?.[0]?.message?.content ?? body?.error?.message ?? body?.detail;
    return typeof found === "string" ? found : null;
  } catch {
    return null;
  }
}

/** Send one request as a program would; the key goes into it and nowhere else. */
async function ask(key: string, model: string, message: string): Promise<Answer> {
  const at = Date.now();
  const began = performance.now();
  let answer: Response;
  try {
    answer = await fetch("/gw/v1/chat/completions", {
      method: "POST", credentials: "omit", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: JSON.stringify(chatOf(model, message)),
    });
  } catch {
    throw new Error(words.notReached);
  }
  const headersMs = performance.now() - began;
  const raw = await answer.text();
  return { status: answer.status, requestId: answer.headers.get("x-nexus-request-id"), said: saidIn(raw), raw, headersMs, totalMs: performance.now() - began, at };
}

/** A request that tries an alias, and the lines that do the same from a program. */
export function TryIt({ chosen, aliases }: { chosen: string; aliases: string[] }) {
  const [model, setModel] = useState(chosen);
  const [key, setKey] = useState("");
  const [message, setMessage] = useState(words.hello);
  const [answer, setAnswer] = useState<Answer | null>(null);
  const attempt = useAttempt();
  const send = async () => {
    setAnswer(null);
    setAnswer(await ask(key.trim(), model.trim(), message));
  };
  const url = window.location.origin;
  const shown = model.trim() || "provider/model";
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm" style={{ alignItems: "start" }}>
      <Panel title={words.tryIt}>
        <form onSubmit={(event) => onSubmit(event, attempt, send)} autoComplete="off">
          <Stack gap="xs">
            <Text size="sm" c="dimmed">{words.tryLead}</Text>
            <Autocomplete label={words.model} required data={aliases} value={model} onChange={setModel} />
            <PasswordInput label={words.key} description={words.keyLead} required autoComplete="off" data-1p-ignore value={key} onChange={(event) => setKey(event.currentTarget.value)} />
            <Textarea label={words.message} required autosize minRows={2} maxRows={6} value={message} onChange={(event) => setMessage(event.currentTarget.value)} />
            <Group><Button type="submit" loading={attempt.busy}>{words.send}</Button></Group>
            {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          </Stack>
        </form>
        <div aria-live="polite">{attempt.busy ? <Text size="sm" c="dimmed" mt="sm">{words.sending}</Text> : answer && <Outcome answer={answer} />}</div>
      </Panel>
      <Panel title={words.snippets}>
        <Text size="sm" c="dimmed" mb="xs">{words.snippetsLead}</Text>
        <Tabs defaultValue="curl">
          <Tabs.List><Tabs.Tab value="curl">curl</Tabs.Tab><Tabs.Tab value="python">Python</Tabs.Tab></Tabs.List>
          <Tabs.Panel value="curl" pt="xs"><Snippet code={curlOf(url, shown, message)} /></Tabs.Panel>
          <Tabs.Panel value="python" pt="xs"><Snippet code={pythonOf(url, shown, message)} /></Tabs.Panel>
        </Tabs>
      </Panel>
    </SimpleGrid>
  );
}

function Outcome({ answer }: { answer: Answer }) {
  const figures = [[text.status, String(answer.status)], [words.headers, duration(answer.headersMs)], [words.total, duration(answer.totalMs)]] as const;
  return (
    <Stack gap="xs" mt="sm" data-outcome>
      <SimpleGrid cols={3}>
        {figures.map(([name, value]) => (
          <div key={name} role="group" aria-label={name}><Text size="xs" c="dimmed">{name}</Text><Text className={name === text.status && answer.status >= 400 ? "figure bad" : "figure"} fw={600}>{value}</Text></div>
        ))}
      </SimpleGrid>
      <div role="group" aria-label={words.answer}>
        <Text size="xs" c="dimmed">{words.answer}</Text>
        <Text size="sm" style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>{answer.said ?? words.noText}</Text>
      </div>
      {answer.said === null && <Code block tabIndex={0} mah={200} style={{ overflow: "auto", whiteSpace: "pre-wrap" }}>{answer.raw.slice(0, 4000)}</Code>}
      {answer.requestId && <Tried requestId={answer.requestId} answer={answer} />}
    </Stack>
  );
}

const PATIENCE_MS = 15_000;
const EVERY_MS = 500;

/** The attempts that the request took, as soon as they are stored. */
function Tried({ requestId, answer }: { requestId: string; answer: Answer }) {
  const { may, organization, go } = useScene();
  const [until] = useState(() => Date.now() + PATIENCE_MS);
  const isWhole = (calls: Call[]) => calls.some((call) => call.status_code === answer.status);
  const query = useQuery({
    queryKey: ["metering", organization, "request", requestId],
    enabled: may("metrics:read"),
    queryFn: async ({ signal }) => {
      const page = await read<Page<Call>>("/api/metering/calls", { request_id: requestId, sort: "timestamp", from: rfc(answer.at - 3_600_000), to: rfc(answer.at + 3_600_000) }, signal);
      return { calls: page.items, isOver: isWhole(page.items) || Date.now() > until };
    },
    refetchInterval: ({ state }) => (state.data?.isOver ? false : EVERY_MS),
  });
  const calls = query.data?.calls ?? [];
  const last = calls.at(-1);
  if (!may("metrics:read")) return <Text size="sm" c="dimmed">{words.mayNotSee}</Text>;
  if (!last) return <Text size="sm" c="dimmed">{query.data?.isOver ? words.noAttempts : <><Loader size={12} mr={6} aria-hidden />{words.waiting}</>}</Text>;
  const place = placeOf(last);
  return (
    <>
      <Text size="xs" c="dimmed">{words.attempts}</Text>
      <Attempts calls={calls} />
      <Anchor size="sm" href={place.path} onClick={(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); go(place.view, place.path); }}>{words.whole}</Anchor>
    </>
  );
}
