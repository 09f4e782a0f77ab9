import { Anchor, Grid, Select, SimpleGrid, Skeleton, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import type { Point } from "../../api/types";
import { useScene } from "../../app/context";
import { clock, compact, count, duration, money, percent, tokens } from "../../app/format";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { before as periodBefore, rfc } from "../../app/range";
import { dimensionName, text } from "../../app/text";
import { colorOf } from "./colors";
import { Empty } from "./Empty";
import { Cost, Tile, tilesOf, Unpriced } from "./Figures";
import { FilterBar, Nothing } from "./FilterBar";
import { costOf, lineBefore, oneLine, splitLines, timesOf } from "./lines";
import { plainOf, useDimensions, useFilters, useNames } from "./names";
import { seriesOf, summaryOf } from "./queries";

const Chart = lazy(() => import("./Chart"));
const MOST_ROWS = 50;

/** What goes on, at a glance: figures against the period before, over time, and by one dimension. */
export function Overview() {
  const { view, span, zone, organization, go } = useScene();
  const by = view.by ?? "provider";
  const filters = useFilters();
  const isFiltered = Object.keys(filters).length > 0;
  const now = useQuery(summaryOf(organization, span, by, filters));
  const before = useQuery(summaryOf(organization, periodBefore(span), "", filters));
  const all = useQuery(seriesOf(organization, span, zone, "requests,error_rate,latency_p95_ms", "", filters));
  const allBefore = useQuery(seriesOf(organization, periodBefore(span), zone, "requests,error_rate,latency_p95_ms,cost", "", filters));
  const split = useQuery(seriesOf(organization, span, zone, "requests,cost", by, filters));
  const dimensions = useDimensions(view.by);
  const nameOf = useNames();
  const onZoom = (from: number, to: number) => go({ range: undefined, from: rfc(from), to: rfc(to) });
  const times = useMemo(() => timesOf(span, all.data, zone), [span, all.data, zone]);
  const currency = now.data?.currency ?? "USD";
  const shape = useMemo(() => ({
    cost: (value: number | null) => (value == null ? "–" : money(value.toFixed(9), currency)),
    latency: (value: number | null) => duration(value),
    share: (value: number | null) => percent(value),
    requests: (value: number | null) => (value == null ? "–" : compact(value)),
  }), [currency]);
  const lines = useMemo(() => {
    // While another dimension is being read the answer to the one before still stands.
    const known = split.data?.group_by?.[0] ?? by;
    const name = (point: Record<string, unknown>) => nameOf(known, point[known]);
    const old = (value: (point: Point) => number | null) => lineBefore(times, periodBefore(span), allBefore.data, zone, value);
    return {
      requests: [...splitLines(times, split.data, name, (point) => point.requests), ...old((point) => point.requests)],
      cost: [...splitLines(times, split.data, name, costOf), ...old(costOf)],
      errors: [...oneLine(times, all.data, text.errorRate, "#d55e00", (point) => point.error_rate), ...old((point) => point.error_rate)],
      latency: [...oneLine(times, all.data, text.p95, "#0072b2", (point) => point.latency_p95_ms), ...old((point) => point.latency_p95_ms)],
    };
  }, [times, split.data, all.data, allBefore.data, by, nameOf, span, zone]);

  const failed = [now, all, split].find((query) => query.isError);
  if (failed) return <Stack gap="sm"><Heading title={text.overview} /><Problem error={failed.error} retry={() => void Promise.all([now.refetch(), all.refetch(), split.refetch()])} /></Stack>;
  const heading = (
    <Heading title={text.overview}>
      <Text size="xs" c="dimmed" className="figure">{now.data ? `${text.asOf} ${clock(now.data.as_of, zone)}` : " "}</Text>
    </Heading>
  );
  if (now.data && now.data.total.requests === 0 && !isFiltered) return <Stack>{heading}<Empty /></Stack>;
  const charts = [
    [text.requests, lines.requests, "bar", shape.requests], [text.errorRate, lines.errors, "line", shape.share],
    [text.p95, lines.latency, "line", shape.latency], [text.cost, lines.cost, "bar", shape.cost],
  ] as const;
  const groups = [...(now.data?.groups ?? [])].sort((a, b) => b.requests - a.requests);
  const known = now.data?.group_by?.[0] ?? by;
  return (
    <Stack gap="sm">
      {heading}
      <FilterBar />
      <SimpleGrid cols={{ base: 2, sm: 3, lg: 5 }} spacing="sm">
        {tilesOf(now.data?.total, before.data?.total, currency).map((tile) => <Tile key={tile.label} {...tile} isLoading={!now.data} filters={filters} />)}
      </SimpleGrid>
      <Unpriced metrics={now.data?.total} filters={filters} />
      {now.data?.total.requests === 0 ? <Nothing /> : <>
      <Grid gap="sm">
        {charts.map(([title, data, kind, format]) => (
          <Grid.Col key={title} span={{ base: 12, lg: 6 }}>
            <Panel title={title}>
              {all.data && split.data ? (
                <Suspense fallback={<Skeleton h={190} />}>
                  <Chart title={title} times={times} lines={data} kind={kind} zone={zone} step={span.step} format={format} most={format === shape.share && data.some((line) => line.values.some((value) => (value ?? 0) > 0.75)) ? 1 : undefined} onZoom={onZoom} />
                </Suspense>
              ) : <Skeleton h={190} />}
            </Panel>
          </Grid.Col>
        ))}
      </Grid>
      <Panel title={`${text.by} ${dimensionName(by)}`} aside={<Select size="xs" w={140} aria-label={text.by} data={dimensions} value={by} allowDeselect={false} searchable onChange={(chosen) => chosen && go({ by: chosen === "provider" ? undefined : chosen })} />}>
        <List name={`${text.by} ${dimensionName(by)}`} minWidth={560} isLoading={!now.data} isStale={now.isPlaceholderData}
          columns={[dimensionName(known), ...[text.requests, text.errorRate, text.p95, text.tokens, text.cost].map((name) => ({ name, right: true }))]}>
          {groups.slice(0, MOST_ROWS).map((group) => {
            const name = nameOf(known, group[known]);
            const value = plainOf(group[known]);
            return (
              <Table.Tr key={value}>
                <Table.Td>
                  <span aria-hidden className="swatch" style={{ background: colorOf(name) }} />
                  {value ? <Anchor size="sm" href={`/calls?${known}=${encodeURIComponent(value)}`} onClick={(event) => { event.preventDefault(); go({ ...filters, [known]: value }, "/calls"); }}>{name}</Anchor> : <Text span size="sm" c="dimmed">{name}</Text>}
                </Table.Td>
                <Table.Td className="right">{count(group.requests)}</Table.Td>
                <Table.Td className="right">{percent(group.error_rate)}</Table.Td>
                <Table.Td className="right">{duration(group.latency_p95_ms)}</Table.Td>
                <Table.Td className="right">{tokens(group.tokens_input, group.tokens_output)}</Table.Td>
                <Table.Td className="right"><Cost metrics={group} currency={currency} /></Table.Td>
              </Table.Tr>
            );
          })}
        </List>
        {groups.length > MOST_ROWS && <Text size="xs" c="dimmed" mt={4}>{`${MOST_ROWS} / ${count(groups.length)}`}</Text>}
        {now.data && <Text size="xs" c="dimmed" mt="xs">{text.bound(percent(now.data.latency_error_bound))}</Text>}
      </Panel>
      </>}
    </Stack>
  );
}
