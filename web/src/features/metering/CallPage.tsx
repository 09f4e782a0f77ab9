import { Anchor, Breadcrumbs, Group, SimpleGrid, Skeleton, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { read } from "../../api/client";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { duration } from "../../app/format";
import { Copyable, Heading, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { Attempts } from "./Attempts";
import { CallBodies } from "./CallBodies";
import { CallCost } from "./CallCost";
import { CallFields } from "./CallFields";
import { CallHead, CallTrouble } from "./CallHead";
import { CallLimits } from "./CallLimits";
import { isLater, partsOf } from "./timing";

/** Everything of one call: the attempts of its request, its time, how its cost is made, all fields. */
export function CallPage() {
  const { view, organization, go } = useScene();
  const id = useParams({ strict: false, select: (params: { call?: string }) => params.call ?? "" });
  const query = useQuery({
    // A call never changes but for its price; attempts that were still running are there a moment later.
    queryKey: ["metering", organization, "call", id, view.at],
    queryFn: ({ signal }) => read<Call & { attempts: Call[] }>(`/api/metering/calls/${encodeURIComponent(id)}`, { at: view.at }, signal),
  });
  const call = query.data;
  const trail = (
    <Breadcrumbs separator="›" aria-label={text.trail} component="nav">
      <Anchor size="sm" href="/calls" onClick={(event) => { event.preventDefault(); go({ at: undefined }, "/calls"); }}>{text.calls}</Anchor>
      <Text size="sm" c="dimmed">{text.details}</Text>
    </Breadcrumbs>
  );
  if (query.isError) return <Stack gap="sm">{trail}<Heading title={text.details} /><Problem error={query.error} retry={() => void query.refetch()} /></Stack>;
  if (!call) return <Stack gap="sm">{trail}<Heading title={text.details} /><Skeleton h={64} /><Skeleton h={140} /><Skeleton h={180} /></Stack>;
  const isOne = call.attempts.length === 1;
  return (
    <Stack gap="sm">
      {trail}
      <CallHead call={call} order={1} />
      <Group gap="md">
        <Copyable value={call.id} />
        {typeof call.request_id === "string" && <Group gap={6}><Text size="sm" c="dimmed">{text.field.request_id}</Text><Copyable value={call.request_id} label={`${call.request_id.slice(0, 13)}…`} /></Group>}
      </Group>
      <CallTrouble call={call} />
      <Panel title={isOne ? text.oneAttempt : text.manyAttempts(call.attempts.length)}><Attempts calls={call.attempts} current={call.id} /></Panel>
      <Times call={call} />
      <Panel title={text.made}><CallCost call={call} /></Panel>
      <CallLimits call={call} />
      <CallBodies call={call} />
      <Panel title={text.fields}><CallFields call={call} /></Panel>
    </Stack>
  );
}

/** The parts of this call's time as figures. */
function Times({ call }: { call: Call }) {
  const parts = partsOf(call);
  const figures = [[isLater(call) ? text.sinceCame : text.queue, parts.queue], [text.untilFirstByte, parts.firstByte], [text.streaming, parts.rest], [text.total, parts.total]] as const;
  return (
    <Panel title={text.timing}>
      <SimpleGrid cols={{ base: 2, sm: 4 }}>
        {figures.map(([name, value]) => (
          <div key={name} role="group" aria-label={name}>
            <Text size="xs" c="dimmed">{name}</Text>
            <Text className="figure" fw={600} title={value === null ? text.noTiming : undefined}>{duration(value)}</Text>
          </div>
        ))}
      </SimpleGrid>
    </Panel>
  );
}
