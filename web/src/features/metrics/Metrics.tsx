import { Anchor, Button, Group as Row, Stack, Table, Text, TextInput } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { linkOf, read } from "../../api/client";
import type { Page } from "../../api/types";
import { useScene } from "../../app/context";
import { count, moment } from "../../app/format";
import { Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";
import { Explorer } from "./Explorer";
import { KindMark } from "./KindMark";
import { NO_UNIT, type Metric, type SeriesUsage } from "./series";
import { words } from "./words";

const AGAIN_MS = 15_000;

/** The metrics there are; one that was chosen is explored. */
export function Metrics() {
  const { view } = useScene();
  return view.metric ? <Explorer key={`${view.metric}/${view.kind}/${view.unit}`} metric={view.metric} /> : <Choice />;
}

function Choice() {
  const { view, organization, zone, go } = useScene();
  const [typed, setTyped] = useState(view.q ?? "");
  const query = useInfiniteQuery({
    queryKey: ["metering", organization, "metrics", "list", view.q],
    queryFn: ({ pageParam, signal }) => read<Page<Metric>>("/api/metrics", { q: view.q, limit: "100", cursor: pageParam }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
    refetchInterval: AGAIN_MS,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const open = (metric: Metric) => go({ metric: metric.name, kind: metric.kind, unit: metric.unit || NO_UNIT, q: undefined });
  if (query.isError) return <Stack gap="sm"><Heading title={words.title} /><Problem error={query.error} retry={() => void query.refetch()} /></Stack>;
  if (query.data && !rows.length && !view.q) return <Stack gap="sm"><Heading title={words.title} /><Empty /></Stack>;
  return (
    <Stack gap="sm">
      <Heading title={words.title} />
      <Text size="sm" c="dimmed">{words.lead}</Text>
      <form onSubmit={(event) => { event.preventDefault(); go({ q: typed.trim() || undefined }); }}>
        <Row gap="xs" align="end">
          <TextInput size="xs" type="search" label={words.search} placeholder={words.searchLead} maxLength={255} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />
          <Button size="xs" variant="default" type="submit">{text.apply}</Button>
        </Row>
      </form>
      {query.data && !rows.length ? <Teach title={words.noneFit}><Button size="compact-sm" variant="default" onClick={() => { setTyped(""); go({ q: undefined }); }}>{words.all}</Button></Teach> : (
        <Panel>
          <List name={words.title} minWidth={0} isLoading={query.isPending} isStale={query.isPlaceholderData} columns={[words.metric, words.kind, words.unit, { name: words.series, right: true }, words.lastSeen]}>
            {rows.map((metric) => (
              <Table.Tr key={`${metric.name}/${metric.kind}/${metric.unit}`} className="open" tabIndex={0} onClick={() => open(metric)} onKeyDown={(event) => event.key === "Enter" && event.target === event.currentTarget && open(metric)}>
                <Table.Td style={{ overflowWrap: "anywhere" }}>{metric.name}{metric.description && <Text size="xs" c="dimmed" lineClamp={1}>{metric.description}</Text>}</Table.Td>
                <Table.Td><KindMark kind={metric.kind} /></Table.Td>
                <Table.Td>{metric.unit || <Text span size="xs" c="dimmed">{words.noUnit}</Text>}</Table.Td>
                <Table.Td className="right">{count(metric.series)}</Table.Td>
                <Table.Td style={{ whiteSpace: "nowrap" }}>{metric.last_seen ? moment(metric.last_seen, zone) : "–"}</Table.Td>
              </Table.Tr>
            ))}
          </List>
        </Panel>
      )}
      <Row justify="space-between">
        <Row gap="md">
          <Anchor size="sm" href={linkOf("/api/metrics/prometheus", {})}>{words.prometheus}</Anchor>
          <Usage />
        </Row>
        {query.hasNextPage && <Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
      </Row>
    </Stack>
  );
}

/** How many series are active, of how many that may be, and what was refused for it. */
function Usage() {
  const { organization, zone } = useScene();
  const { data } = useQuery({ queryKey: ["metering", organization, "metrics", "usage"], refetchInterval: AGAIN_MS, queryFn: ({ signal }) => read<SeriesUsage>("/api/metrics/usage", {}, signal) });
  if (!data) return null;
  return (
    <Text size="xs" c="dimmed" data-usage>
      {words.active(count(data.active), data.limit ? count(data.limit) : "")}
      {data.last_refused_at && <Text span inherit c="orange.8">{" "}{words.refused(data.refused_points, count(data.refused_points), data.last_refused_metric, moment(data.last_refused_at, zone))}</Text>}
    </Text>
  );
}

function Empty() {
  // Made when the page is drawn: a point of now is in every range that is shown.
  const [now] = useState(() => new Date().toISOString());
  return (
    <Teach title={words.emptyTitle}>
      <Stack gap="xs">
        <span>{words.emptyLead}</span>
        <Snippet code={`curl ${window.location.origin}/v1/events -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Content-Type: application/json" \\\n  -d '[{"type": "metric", "name": "checkout.duration", "kind": "histogram", "unit": "s", "values": [0.12, 0.31], "timestamp": "${now}", "labels": {"route": "/cart"}}]'`} />
        <span>{words.otherWays}</span>
      </Stack>
    </Teach>
  );
}
