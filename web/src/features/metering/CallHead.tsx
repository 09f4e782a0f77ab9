import { Alert, Badge, Group, Text, Title } from "@mantine/core";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { duration, instant } from "../../app/format";
import { text } from "../../app/text";
import { gatewayOf } from "./timing";

export const isFailure = (call: Call): boolean => call.status_code >= 400 || !call.status_code;

/** What was called, when, how it went, and what the gateway noted of it. */
export function CallHead({ call, order = 2 }: { call: Call; order?: 1 | 2 }) {
  const { zone } = useScene();
  const gateway = gatewayOf(call);
  return (
    <div>
      <Title order={order} size="h4" style={{ overflowWrap: "anywhere" }}>{[call.method, call.endpoint].filter(Boolean).join(" ") || call.model || call.provider}</Title>
      <Text size="sm" c="dimmed">{call.provider}{call.model ? ` · ${call.model}` : ""} · {instant(call.timestamp, zone)} · {duration(call.response_time_ms)} · <span className={isFailure(call) ? "bad" : undefined}>{call.status_code || text.noAnswer}</span></Text>
      {(gateway || call.refused_by !== null) && (
        <Group gap={6} mt={6} role="list" aria-label={text.notes}>
          {call.refused_by !== null && <Note color="orange">{text.refusedBy(call.refused_by)}</Note>}
          {gateway?.streamed && <Note>{text.streamed}</Note>}
          {gateway?.usage && <Note color={gateway.usage === "exact" ? "teal" : "orange"}>{gateway.usage === "exact" ? text.usageExact : text.usageEstimated}</Note>}
          {gateway?.client_left && <Note color="orange">{text.clientLeft}</Note>}
        </Group>
      )}
    </div>
  );
}

function Note({ color = "gray", children }: { color?: string; children: string }) {
  return <Badge role="listitem" size="sm" variant="dot" color={color} tt="none">{children}</Badge>;
}

/** What went wrong with it, in the provider's or our own words. */
export function CallTrouble({ call }: { call: Call }) {
  if (!call.error_type && !call.error_message) return null;
  return <Alert color="red" variant="light" title={call.refused_by === null ? (call.error_type ?? text.message) : text.refusedBy(call.refused_by)}><Text size="sm" style={{ overflowWrap: "anywhere" }}>{call.error_message}</Text></Alert>;
}
