import { Button, Code, CopyButton, Group, ScrollArea, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { read } from "../../api/client";
import type { Call, CallBodies as Found, KeptBody } from "../../api/types";
import { bodyText } from "../../app/bodyText";
import { useScene } from "../../app/context";
import { count, instant, size } from "../../app/format";
import { Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { readable } from "./readable";

/** What was asked and answered, where it is kept; of calls that did not go through the gateway there is nothing to tell. */
export function CallBodies({ call }: { call: Call }) {
  const { may } = useScene();
  if (!(call.metadata as Record<string, unknown> | null)?.gateway) return null;
  return (
    <Panel title={bodyText.bodies}>
      {may("bodies:read") ? <OnDemand key={call.id} id={call.id} /> : <Text size="sm" c="dimmed">{bodyText.mayNot}</Text>}
    </Panel>
  );
}

/** Nobody reads them by the way: a person says that they want to, as it is written down. */
function OnDemand({ id }: { id: string }) {
  const { organization, zone } = useScene();
  const [isWanted, setWanted] = useState(false);
  const query = useQuery({
    enabled: isWanted, staleTime: Infinity, gcTime: 0, queryKey: ["bodies", organization, id],
    queryFn: ({ signal }) => read<Found>(`/api/metering/calls/${encodeURIComponent(id)}/bodies`, {}, signal),
  });
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  const found = query.data;
  if (!found) {
    return (
      <Group gap="sm">
        <Button size="xs" variant="default" loading={isWanted} onClick={() => setWanted(true)}>{bodyText.show}</Button>
        <Text size="sm" c="dimmed">{bodyText.showLead}</Text>
      </Group>
    );
  }
  if (found.why !== "kept") {
    return (
      <Group gap="sm">
        <Text size="sm" role="status">{bodyText.why[found.why] ?? found.why}</Text>
        {found.why === "on_its_way" && <Button size="xs" variant="default" loading={query.isFetching} onClick={() => void query.refetch()}>{text.tryAgain}</Button>}
      </Group>
    );
  }
  return (
    <Stack gap="sm">
      <Side name={bodyText.request} body={found.request} />
      <Side name={bodyText.response} body={found.response} />
      {found.until && <Text size="xs" c="dimmed">{bodyText.until(instant(found.until, zone))}</Text>}
    </Stack>
  );
}

function Side({ name, body }: { name: string; body: KeptBody | null }) {
  const masked = Object.entries(body?.masked ?? {}).map(([kind, times]) => `${bodyText.kind[kind] ?? kind} ${count(times)}`).join(", ");
  const notes = body ? [body.media_type, size(body.size_bytes), body.is_cut ? bodyText.cut : "", masked ? bodyText.masked(masked) : ""].filter(Boolean).join(" · ") : "";
  return (
    <section aria-label={name}>
      <Group justify="space-between" mb={4} gap="xs">
        <Group gap="xs"><Title order={3} size="h6">{name}</Title><Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{notes}</Text></Group>
        {body?.text && <CopyButton value={body.text}>{({ copied, copy }) => <Button size="compact-xs" variant="default" onClick={copy}>{copied ? text.copied : text.copy}</Button>}</CopyButton>}
      </Group>
      {body?.text != null ? (
        <ScrollArea.Autosize mah={420} type="auto" viewportProps={{ tabIndex: 0, role: "group", "aria-label": name }}>
          <Code block style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>{readable(body.text)}</Code>
        </ScrollArea.Autosize>
      ) : <Text size="sm" c="dimmed">{bodyText.state[body?.state ?? "absent"]}</Text>}
    </section>
  );
}
