import { Anchor, Select, SegmentedControl, SimpleGrid, Skeleton, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import { linkOf } from "../../api/client";
import { useScene } from "../../app/context";
import { count, money, percent, tokens } from "../../app/format";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { before as periodBefore, INTERVALS, rfc } from "../../app/range";
import { dimensionName, text } from "../../app/text";
import { colorOf } from "./colors";
import { Empty } from "./Empty";
import { Cost, isUnknown, Then, Tile, tilesOf, Unpriced } from "./Figures";
import { FilterBar, Nothing } from "./FilterBar";
import { costOf, lineBefore, splitLines, timesOf } from "./lines";
import { plainOf, useDimensions, useFilters, useNames } from "./names";
import { seriesOf, summaryOf } from "./queries";

const Chart = lazy(() => import("./Chart"));
const STEP: Record<string, number> = { "1h": 3600, "1d": 86_400, "1w": 7 * 86_400, "1mo": 30 * 86_400 };

/** Who and what spent how much: by any dimension or tag, by hour, day, week or month of the zone. */
export function Costs() {
  const { view, span, zone, organization, go, may } = useScene();
  const by = view.by ?? "provider";
  const interval = view.interval ?? (span.to - span.from <= 2 * 86_400_000 ? "1h" : "1d");
  const filters = useFilters();
  const now = useQuery(summaryOf(organization, span, by, filters));
  const before = useQuery(summaryOf(organization, periodBefore(span), by, filters));
  const split = useQuery(seriesOf(organization, span, zone, "requests,cost", by, filters, interval));
  const then = useQuery(seriesOf(organization, periodBefore(span), zone, "requests,cost", "", filters, interval));
  const dimensions = useDimensions(view.by);
  const nameOf = useNames();
  const currency = now.data?.currency ?? "USD";
  const times = useMemo(() => timesOf({ ...span, step: STEP[interval] ?? 86_400 }, split.data, zone, interval), [span, interval, split.data, zone]);
  const lines = useMemo(() => {
    const known = split.data?.group_by?.[0] ?? by;
    const old = lineBefore(times, { ...periodBefore(span), step: STEP[interval] ?? 86_400 }, then.data, zone, costOf, interval);
    return [...splitLines(times, split.data, (point) => nameOf(known, point[known]), costOf), ...old];
  }, [times, split.data, then.data, by, nameOf, span, zone, interval]);
  const format = useMemo(() => (value: number | null) => (value == null ? "–" : money(value.toFixed(9), currency)), [currency]);

  const failed = [now, split].find((query) => query.isError);
  if (failed) return <Stack gap="sm"><Heading title={text.costs} /><Problem error={failed.error} retry={() => void Promise.all([now.refetch(), split.refetch()])} /></Stack>;
  const known = now.data?.group_by?.[0] ?? by;
  const range = { from: rfc(span.from), to: rfc(span.to), group_by: by, ...filters };
  const download = (form: string) => linkOf("/api/metering/series", { ...range, interval, tz: zone, metrics: "requests,cost,unpriced,tokens_input,tokens_output", format: form });
  const total = now.data?.total;
  const earlier = new Map((before.data?.groups ?? []).map((group) => [plainOf(group[known]), group]));
  const groups = [...(now.data?.groups ?? [])].sort((a, b) => Number(b.cost ?? -1) - Number(a.cost ?? -1));
  if (total && total.requests === 0 && !Object.keys(filters).length) return <Stack><Heading title={text.costs} /><Empty /></Stack>;
  return (
    <Stack gap="sm">
      <Heading title={text.costs}>
        <SegmentedControl size="xs" aria-label={text.per} value={interval} data={INTERVALS.map((value) => ({ value, label: text.interval[value] ?? value }))} onChange={(value) => go({ interval: value })} />
        <Select size="xs" w={140} aria-label={text.by} data={dimensions} value={by} allowDeselect={false} searchable onChange={(chosen) => chosen && go({ by: chosen === "provider" ? undefined : chosen })} />
        {may("metrics:export") && <><Anchor size="xs" href={download("csv")} download>{text.exportCsv}</Anchor><Anchor size="xs" href={download("parquet")} download>{text.exportParquet}</Anchor></>}
      </Heading>
      <FilterBar />
      <SimpleGrid cols={{ base: 2, sm: 3 }} spacing="sm">
        {tilesOf(total, before.data?.total, currency).filter((tile) => [text.cost, text.requests, text.tokenFigure].includes(tile.label)).reverse().map((tile) => <Tile key={tile.label} {...tile} path={tile.label === text.cost ? undefined : tile.path} isLoading={!now.data} filters={filters} />)}
      </SimpleGrid>
      <Unpriced metrics={total} filters={filters} />
      {total?.requests === 0 ? <Nothing /> : <>
      <Panel title={`${text.cost} ${text.interval[interval] ?? ""}, ${zone}`}>
        {split.data ? (
          <Suspense fallback={<Skeleton h={190} />}>
            <Chart title={text.cost} times={times} lines={lines} kind="bar" zone={zone} step={STEP[interval] ?? 86_400} format={format} onZoom={(from, to) => go({ range: undefined, from: rfc(from), to: rfc(to) })} />
          </Suspense>
        ) : <Skeleton h={190} />}
      </Panel>
      <Panel title={`${text.by} ${dimensionName(by)}`}>
        <List name={text.costs} minWidth={560} isLoading={!now.data} isStale={now.isPlaceholderData}
          columns={[dimensionName(known), { name: text.cost, right: true }, { name: text.versusBefore, right: true }, { name: text.share, right: true }, { name: text.requests, right: true }, { name: text.tokens, right: true }]}>
          {groups.map((group) => {
            const value = plainOf(group[known]);
            const name = nameOf(known, group[known]);
            return (
              <Table.Tr key={value}>
                <Table.Td>
                  <span aria-hidden className="swatch" style={{ background: colorOf(name) }} />
                  {value ? <Anchor size="sm" href={`/calls?${known}=${encodeURIComponent(value)}`} onClick={(event) => { event.preventDefault(); go({ ...filters, [known]: value }, "/calls"); }}>{name}</Anchor> : <Text span size="sm" c="dimmed">{name}</Text>}
                </Table.Td>
                <Table.Td className="right"><Cost metrics={group} currency={currency} /></Table.Td>
                <Table.Td className="right"><Then metrics={earlier.get(value)} now={group} currency={currency} /></Table.Td>
                <Table.Td className="right">{isUnknown(group) || !Number(total?.cost) ? "–" : percent(Number(group.cost) / Number(total?.cost))}</Table.Td>
                <Table.Td className="right">{count(group.requests)}</Table.Td>
                <Table.Td className="right">{tokens(group.tokens_input, group.tokens_output)}</Table.Td>
              </Table.Tr>
            );
          })}
          {total && (
            <Table.Tr>
              <Table.Th scope="row">{text.total}</Table.Th>
              <Table.Td className="right" fw={600}><Cost metrics={total} currency={currency} /></Table.Td><Table.Td className="right"><Then metrics={before.data?.total} now={total} currency={currency} /></Table.Td><Table.Td /><Table.Td className="right" fw={600}>{count(total.requests)}</Table.Td>
              <Table.Td className="right" fw={600}>{tokens(total.tokens_input, total.tokens_output)}</Table.Td>
            </Table.Tr>
          )}
        </List>
      </Panel>
      </>}
    </Stack>
  );
}
