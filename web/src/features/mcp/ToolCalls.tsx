import { Table, Text } from "@mantine/core";
import { useScene } from "../../app/context";
import { duration, instant } from "../../app/format";
import { mcpText } from "../../app/mcpText";
import { List } from "../../app/parts";
import { text } from "../../app/text";
import type { ToolCall } from "./queries";

/** A list of tool calls; a click opens the page of one. */
export function ToolCalls({ name, calls, isLoading, isStale, current }: { name: string; calls: ToolCall[] | undefined; isLoading?: boolean; isStale?: boolean; current?: string }) {
  const { zone, go } = useScene();
  const open = (call: ToolCall) => go({ at: call.timestamp }, `/tools/calls/${encodeURIComponent(call.id)}`);
  return (
    <List name={name} minWidth={620} isLoading={isLoading} isStale={isStale} columns={[text.time, mcpText.tool, mcpText.outcome, mcpText.principal, { name: mcpText.duration, right: true }]}>
      {calls?.map((call) => (
        <Table.Tr key={call.id} className="open" tabIndex={0} aria-current={call.id === current ? "true" : undefined} onClick={() => open(call)} onKeyDown={(event) => event.key === "Enter" && open(call)}>
          <Table.Td>{instant(call.timestamp, zone)}</Table.Td>
          <Table.Td style={{ overflowWrap: "anywhere" }}>{call.tool}<Text size="xs" c="dimmed">{call.server}</Text></Table.Td>
          <Table.Td><Outcome call={call} /></Table.Td>
          <Table.Td style={{ overflowWrap: "anywhere" }}>{call.principal ?? "–"}</Table.Td>
          <Table.Td className="right">{duration(call.duration_ms)}</Table.Td>
        </Table.Tr>
      ))}
    </List>
  );
}

export function Outcome({ call }: { call: ToolCall }) {
  const isOk = call.outcome === "ok";
  return <span className={isOk ? undefined : "bad"} title={call.error_message ?? undefined}>{mcpText.outcomes[call.outcome] ?? call.outcome}{!isOk && call.error_type ? <Text size="xs" c="dimmed">{call.error_type}</Text> : null}</span>;
}
