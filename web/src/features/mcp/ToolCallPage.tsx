import { Alert, Anchor, Code, Group, SimpleGrid, Skeleton, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { read } from "../../api/client";
import { useScene } from "../../app/context";
import { count, duration, instant, size } from "../../app/format";
import { mcpText } from "../../app/mcpText";
import { Copyable, Heading, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import type { WholeToolCall } from "./queries";
import { Outcome, ToolCalls } from "./ToolCalls";
import { Trail } from "./ToolPage";

const ELSEWHERE = new Set(["id", "timestamp", "tool", "server", "outcome", "parameters", "response", "error_message", "error_stack", "session", "trace", "parameters_hash", "session_id", "duration_ms", "response_size_bytes", "principal"]);

/** Everything of one tool call: what it was given and answered, its time, its trace and the session it belongs to. */
export function ToolCallPage() {
  const { view, zone, organization, go } = useScene();
  const id = useParams({ strict: false, select: (params: { call?: string }) => params.call ?? "" });
  const query = useQuery({
    queryKey: ["metering", organization, "mcp", "call", id, view.at],
    queryFn: ({ signal }) => read<WholeToolCall>(`/api/mcp/tool-calls/${encodeURIComponent(id)}`, { at: view.at }, signal),
  });
  const call = query.data;
  if (query.isError) return <Stack gap="sm"><Trail last={mcpText.toolCalls} /><Heading title={mcpText.toolCalls} /><Problem error={query.error} retry={() => void query.refetch()} /></Stack>;
  if (!call) return <Stack gap="sm"><Trail last={mcpText.toolCalls} /><Heading title={mcpText.toolCalls} /><Skeleton h={64} /><Skeleton h={140} /><Skeleton h={140} /></Stack>;
  const tool = { server: call.server ?? undefined, tool: call.tool };
  const figures = [[mcpText.duration, duration(call.duration_ms)], [mcpText.size, size(call.response_size_bytes)], [mcpText.principal, call.principal ?? "–"], [mcpText.client, [call.client_name, call.client_version].filter(Boolean).join(" ") || "–"]] as const;
  return (
    <Stack gap="sm">
      <Trail last={call.tool} />
      <div>
        <Heading title={call.tool}><Anchor size="sm" href="/tools/one" onClick={(event) => { event.preventDefault(); go({ ...tool, at: undefined }, "/tools/one"); }}>{mcpText.thisTool}</Anchor></Heading>
        <Group gap={6}><Text size="sm" c="dimmed">{call.server ?? mcpText.noServer} · {instant(call.timestamp, zone)} ·</Text><Outcome call={call} /></Group>
      </div>
      <Copyable value={call.id} />
      {call.outcome !== "ok" && <Alert color="red" variant="light" title={[call.error_type, call.error_code].filter(Boolean).join(" ") || mcpText.outcomes[call.outcome]}><Text size="sm" style={{ overflowWrap: "anywhere" }}>{call.error_message ?? "–"}</Text></Alert>}
      <Panel title={text.timing}>
        <SimpleGrid cols={{ base: 2, sm: 4 }}>
          {figures.map(([name, value]) => <div key={name} role="group" aria-label={name}><Text size="xs" c="dimmed">{name}</Text><Text className="figure" fw={600} style={{ overflowWrap: "anywhere" }}>{value}</Text></div>)}
        </SimpleGrid>
      </Panel>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Panel title={mcpText.parameters} aside={call.parameters != null && <Anchor size="xs" href="/tools/one" onClick={(event) => { event.preventDefault(); go({ ...tool, at: undefined, q: JSON.stringify(call.parameters) }, "/tools/one"); }}>{mcpText.sameParameters}</Anchor>}><Json value={call.parameters} none={mcpText.noParameters} /></Panel>
        <Panel title={mcpText.response}><Json value={call.response} none={mcpText.noResponse} /></Panel>
      </SimpleGrid>
      {call.error_stack && <Panel title={mcpText.stack}><Code block tabIndex={0} style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>{call.error_stack}</Code></Panel>}
      <Panel title={mcpText.session}>
        {call.session?.source === "protocol" ? <Group gap={6}><Copyable value={call.session.id} /><Text size="sm" c="dimmed">{mcpText.ofProtocol}</Text></Group>
          : call.session ? <Text size="sm" title={mcpText.derivedLead}>{mcpText.window(`${count(call.session.calls)}${call.session.has_more ? "+" : ""}`, instant(call.session.began_at, zone), instant(call.session.ended_at, zone))} <Text span size="xs" c="dimmed">({mcpText.derived}: {mcpText.derivedLead})</Text></Text>
          : <Text size="sm" c="dimmed">–</Text>}
      </Panel>
      <Panel title={mcpText.trace}>
        {!call.trace_id ? <Text size="sm" c="dimmed">{mcpText.noTrace}</Text> : call.trace.length < 2 ? <Text size="sm" c="dimmed">{mcpText.oneOfTrace}</Text> : <ToolCalls name={mcpText.trace} calls={call.trace} current={call.id} />}
      </Panel>
      <Panel title={text.fields}>
        <Table layout="fixed" verticalSpacing={4} aria-label={text.fields}>
          <Table.Tbody>
            {Object.entries(call).filter(([name, value]) => !ELSEWHERE.has(name) && value !== null && value !== "").map(([name, value]) => (
              <Table.Tr key={name}><Table.Th scope="row" w="36%" style={{ fontWeight: 500 }}>{text.field[name] ?? name.replaceAll("_", " ")}</Table.Th><Table.Td style={{ overflowWrap: "anywhere" }}>{typeof value === "object" ? JSON.stringify(value) : String(value as string | number | boolean)}</Table.Td></Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Panel>
    </Stack>
  );
}

function Json({ value, none }: { value: unknown; none: string }) {
  if (value === null || value === undefined) return <Text size="sm" c="dimmed">{none}</Text>;
  return <Code block tabIndex={0} mah={420} style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere", overflowY: "auto" }}>{JSON.stringify(value, null, 2)}</Code>;
}
