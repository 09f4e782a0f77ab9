import { Anchor, Grid, Paper, SimpleGrid, Skeleton, Stack, Table, Text, Title, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";
import type { Metrics, Point, Series } from "../../api/types";
import { clock, compact, count, delta, duration, money, percent, tokens } from "../../app/format";
import { Problem } from "../../app/Problem";
import { rfc, type Span, type View } from "../../app/range";
import { text } from "../../app/text";
import type { Line } from "./Chart";
import { colorOf } from "./colors";
import { Empty } from "./Empty";
import { seriesOf, summaryOf } from "./queries";

const Chart = lazy(() => import("./Chart"));
const MAX_SERIES = 8;

interface Props { view: View; span: Span; zone: string; organization: string }

export function Overview({ view, span, zone, organization }: Props) {
  const navigate = useNavigate();
  const now = useQuery(summaryOf(organization, span.from, span.to, "provider"));
  const before = useQuery(summaryOf(organization, span.from - (span.to - span.from), span.from));
  const all = useQuery(seriesOf(organization, span, zone));
  const split = useQuery(seriesOf(organization, span, zone, "provider"));
  const onZoom = (from: number, to: number) =>
    void navigate({ to: "/", search: { ...view, range: undefined, from: rfc(from), to: rfc(to) } as never });
  const times = useMemo(() => timesOf(span, all.data), [span.from, span.to, span.step, all.data]);
  const currency = now.data?.currency ?? "USD";
  const shape = useMemo(() => ({
    cost: (value: number | null) => (value == null ? "–" : money(value.toFixed(9), currency)),
    latency: (value: number | null) => duration(value),
    share: (value: number | null) => percent(value),
    requests: (value: number | null) => (value == null ? "–" : compact(value)),
  }), [currency]);
  const lines = useMemo(() => ({
    requests: splitLines(times, split.data, (point) => point.requests),
    cost: splitLines(times, split.data, (point) => (point.cost == null ? null : Number(point.cost))),
    errors: oneLine(times, all.data, text.errorRate, "#d55e00", (point) => point.error_rate),
    latency: oneLine(times, all.data, text.p95, "#0072b2", (point) => point.latency_p95_ms),
  }), [times, split.data, all.data]);

  const failed = [now, all, split].find((query) => query.isError);
  if (failed) return <Problem error={failed.error} retry={() => void Promise.all([now.refetch(), all.refetch(), split.refetch()])} />;
  if (now.data && now.data.total.requests === 0) return <Stack><Heading asOf={now.data.as_of} zone={zone} /><Empty /></Stack>;
  return (
    <Stack>
      <Heading asOf={now.data?.as_of} zone={zone} />
      <SimpleGrid cols={{ base: 2, md: 4 }}>
        {tilesOf(now.data?.total, before.data?.total, currency).map((tile) => <Tile key={tile.label} {...tile} isLoading={!now.data} />)}
      </SimpleGrid>
      <Grid>
        {([[text.requests, lines.requests, "bar", shape.requests], [text.errorRate, lines.errors, "line", shape.share], [text.p95, lines.latency, "line", shape.latency], [text.cost, lines.cost, "bar", shape.cost]] as const).map(
          ([title, data, kind, format]) => (
            <Grid.Col key={title} span={{ base: 12, lg: 6 }}>
              <Paper withBorder p="sm" radius="md">
                <Title order={2} size="h6" mb={4}>{title}</Title>
                {all.data && split.data ? (
                  <Suspense fallback={<Skeleton h={190} />}>
                    <Chart title={title} times={times} lines={data} kind={kind} zone={zone} step={span.step} format={format} onZoom={onZoom} />
                  </Suspense>
                ) : <Skeleton h={190} />}
              </Paper>
            </Grid.Col>
          ),
        )}
      </Grid>
      <Paper withBorder p="sm" radius="md">
        <Title order={2} size="h6" mb={4}>{text.providers}</Title>
        <Table.ScrollContainer minWidth={560}>
          <Table highlightOnHover verticalSpacing={6}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{text.provider}</Table.Th>
                {[text.requests, text.errorRate, text.p95, text.tokens, text.cost].map((name) => <Table.Th key={name} className="right">{name}</Table.Th>)}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {[...(now.data?.groups ?? [])].sort((a, b) => b.requests - a.requests).map((group) => (
                <Table.Tr key={group.provider}>
                  <Table.Td>
                    <span aria-hidden style={{ display: "inline-block", width: 10, height: 10, borderRadius: 3, background: colorOf(group.provider ?? ""), marginRight: 8 }} />
                    <Anchor size="sm" href={`/calls?provider=${group.provider}`} onClick={(event) => { event.preventDefault(); void navigate({ to: "/calls", search: { ...view, provider: group.provider } as never }); }}>{group.provider}</Anchor>
                  </Table.Td>
                  <Table.Td className="right">{count(group.requests)}</Table.Td>
                  <Table.Td className="right">{percent(group.error_rate)}</Table.Td>
                  <Table.Td className="right">{duration(group.latency_p95_ms)}</Table.Td>
                  <Table.Td className="right">{tokens(group.tokens_input, group.tokens_output)}</Table.Td>
                  <Table.Td className="right"><Cost metrics={group} currency={currency} /></Table.Td>
                </Table.Tr>
              ))}
              {!now.data && [1, 2, 3].map((row) => <Table.Tr key={row}><Table.Td colSpan={6}><Skeleton h={18} /></Table.Td></Table.Tr>)}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
        {now.data && <Text size="xs" c="dimmed" mt="xs">{text.bound(percent(now.data.latency_error_bound))}</Text>}
      </Paper>
    </Stack>
  );
}

function Heading({ asOf, zone }: { asOf?: string; zone: string }) {
  return (
    <div style={{ display: "flex", justifyContent: "space-between", alignItems: "baseline" }}>
      <Title order={1} size="h3">{text.overview}</Title>
      <Text size="xs" c="dimmed" className="figure">{asOf ? `${text.asOf} ${clock(asOf, zone)}` : " "}</Text>
    </div>
  );
}

const isUnknown = (metrics: Metrics) => metrics.requests > 0 && metrics.unpriced === metrics.requests;

function Cost({ metrics, currency }: { metrics: Metrics; currency: string }) {
  const shown = isUnknown(metrics) ? "–" : money(metrics.cost, currency);
  const others = Object.entries(metrics.cost_other ?? {}).map(([name, amount]) => money(amount, name)).join(", ");
  const reason = metrics.unpriced ? text.unpriced(count(metrics.unpriced)) : "";
  return reason || others ? <Tooltip label={[others, reason].filter(Boolean).join("; ")}><span tabIndex={0}>{shown}{others ? " +" : ""}{reason ? " *" : ""}</span></Tooltip> : <>{shown}</>;
}

interface TileData { label: string; value: string; change: string | null; isGood: boolean | null; note: string }

function tilesOf(now: Metrics | undefined, before: Metrics | undefined, currency: string): TileData[] {
  if (!now) return [text.requests, text.errorRate, text.p95, text.cost].map((label) => ({ label, value: "–", change: null, isGood: null, note: "" }));
  const worse = (a: number | null | undefined, b: number | null | undefined) => (a == null || b == null || a === b ? null : a < b);
  const hidden = isUnknown(now);
  return [
    { label: text.requests, value: count(now.requests), change: delta(now.requests, before?.requests ?? null), isGood: null, note: text.versus },
    { label: text.errorRate, value: percent(now.error_rate), change: delta(now.error_rate, before?.error_rate ?? null), isGood: worse(now.error_rate, before?.error_rate), note: `${count(now.errors)} ${text.errors.toLowerCase()}` },
    { label: text.p95, value: duration(now.latency_p95_ms), change: delta(now.latency_p95_ms, before?.latency_p95_ms ?? null), isGood: worse(now.latency_p95_ms, before?.latency_p95_ms), note: now.latency_p95_ms == null ? text.noLatency : `p50 ${duration(now.latency_p50_ms)}, p99 ${duration(now.latency_p99_ms)}` },
    { label: text.cost, value: hidden ? "–" : money(now.cost, currency), change: hidden ? null : delta(Number(now.cost ?? 0), before?.cost == null ? null : Number(before.cost)), isGood: null, note: hidden ? text.noCost : now.unpriced ? text.unpriced(count(now.unpriced)) : text.versus },
  ];
}

function Tile({ label, value, change, isGood, note, isLoading }: TileData & { isLoading: boolean }) {
  return (
    <Paper withBorder p="sm" radius="md" role="group" aria-label={label}>
      <Text size="xs" c="dimmed">{label}</Text>
      {isLoading ? <Skeleton h={34} my={2} /> : <Text className="figure" data-figure fz={{ base: 22, sm: 28 }} fw={650} lh={1.25}>{value}</Text>}
      <Text size="xs" c="dimmed" className="figure" lineClamp={1}>
        {change && <Text span inherit fw={600} className={isGood === null ? undefined : isGood ? "good" : "bad"}>{change} </Text>}{note || " "}
      </Text>
    </Paper>
  );
}

function timesOf(span: Span, data?: Series): number[] {
  // Days begin where the zone says, so their instants come from the answer; shorter steps are even.
  if (span.step >= 86_400) return [...new Set((data?.points ?? []).map((point) => Date.parse(point.at)))].sort((a, b) => a - b);
  const step = span.step * 1000;
  const first = Math.floor(span.from / step) * step;
  return Array.from({ length: Math.ceil((span.to - first) / step) }, (_, place) => first + place * step);
}

function oneLine(times: number[], data: Series | undefined, name: string, color: string, value: (point: Point) => number | null): Line[] {
  const found = new Map((data?.points ?? []).map((point) => [Date.parse(point.at), value(point)]));
  return [{ name, color, values: times.map((at) => found.get(at) ?? null) }];
}

function splitLines(times: number[], data: Series | undefined, value: (point: Point) => number | null): Line[] {
  const totals = new Map<string, number>();
  for (const point of data?.points ?? []) totals.set(point.provider ?? "", (totals.get(point.provider ?? "") ?? 0) + point.requests);
  const names = [...totals].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const shown = new Set(names.slice(0, names.length > MAX_SERIES ? MAX_SERIES - 1 : MAX_SERIES));
  const sums = new Map<string, Map<number, number>>();
  for (const point of data?.points ?? []) {
    const amount = value(point);
    if (amount == null) continue;
    const name = shown.has(point.provider ?? "") ? (point.provider ?? "") : text.other;
    const line = sums.get(name) ?? new Map<number, number>();
    line.set(Date.parse(point.at), (line.get(Date.parse(point.at)) ?? 0) + amount);
    sums.set(name, line);
  }
  return [...shown, ...(names.length > shown.size ? [text.other] : [])].map((name) => ({ name, color: colorOf(name), values: times.map((at) => sums.get(name)?.get(at) ?? null) }));
}
