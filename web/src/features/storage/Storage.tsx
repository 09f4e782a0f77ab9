import { Anchor, SimpleGrid, Skeleton, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, type ReactNode } from "react";
import { useScene } from "../../app/context";
import { compact, count, duration, percent, size } from "../../app/format";
import { Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { rfc } from "../../app/range";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";
import type { Line } from "../metering/Chart";
import { OTHER } from "../metering/colors";
import { splitBy, timesOf } from "../metering/lines";
import { limitsOf, seriesOf, summaryOf, type Figures, type Limits, type Row, type StorageSeries } from "./queries";
import { allowanceOf, iops, throughput } from "./rates";
import { words } from "./words";

const Chart = lazy(() => import("../metering/Chart"));
const SHOWN = "100";
const ORDERS = ["operations", "peak_iops", "bytes_per_second", "peak_bytes_per_second", "latency_avg_ms", "error_count", "name"];

/** IOPS and bandwidth of each application over time, with peaks, latency and the limits they are admitted by. */
export function Storage() {
  const { view, span, zone, organization, may, go } = useScene();
  const sort = ORDERS.includes(view.order ?? "") ? (view.order as string) : "operations";
  const only = { application: view.application };
  const by = view.application ? "operation" : "application";
  const applications = useQuery(summaryOf(organization, span, { ...only, sort, limit: SHOWN }));
  const kinds = useQuery(summaryOf(organization, span, { ...only, group_by: "operation", limit: "50" }));
  const clusters = useQuery(summaryOf(organization, span, { ...only, group_by: "cluster", limit: "50" }));
  const series = useQuery(seriesOf(organization, span, zone, { ...only, group_by: by }));
  const limits = useQuery(limitsOf(organization, span, may("quota:read")));
  const times = useMemo(() => timesOf(span, undefined, zone), [span, zone]);
  const lines = useMemo(() => linesOf(times, finished(series.data, span.step), by, view.application, limits.data), [times, series.data, span.step, by, view.application, limits.data]);
  const queries = [applications, kinds, clusters, series, limits];
  const failed = queries.find((query) => query.isError);
  if (failed) return <Stack gap="sm"><Heading title={words.title} /><Problem error={failed.error} retry={() => void Promise.all(queries.filter((query) => query.isError).map((query) => query.refetch()))} /></Stack>;
  if (applications.data?.groups === 0 && !view.application) return <Stack gap="sm"><Heading title={words.title} /><EmptyStorage /></Stack>;
  const zoom = (from: number, to: number) => go({ range: undefined, from: rfc(from), to: rfc(to) });
  const chart = { times, zone, step: span.step, kind: "line" as const, onZoom: zoom };
  const drawn = (title: string, format: (value: number | null) => string, of: Line[]) => (
    <Panel title={title}>{series.isPending ? <Skeleton h={190} /> : <Suspense fallback={<Skeleton h={190} />}><Chart title={title} format={format} lines={of} {...chart} /></Suspense>}</Panel>
  );
  return (
    <Stack gap="sm">
      <Heading title={words.title}>{view.application && <Anchor size="sm" component="button" onClick={() => go({ application: undefined })}>{text.clear(view.application)}</Anchor>}</Heading>
      <Text size="sm" c="dimmed">{words.lead}</Text>
      <Tiles figures={applications.data?.total} />
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        {drawn(words.iopsOverTime, iops, lines.iops)}
        {drawn(words.throughputOverTime, throughput, lines.throughput)}
      </SimpleGrid>
      {drawn(words.latencyOverTime, duration, lines.latency)}
      <Panel title={words.applications} aside={applications.data && applications.data.groups > applications.data.items.length && <Text size="xs" c="dimmed">{words.of(applications.data.items.length, applications.data.groups)}</Text>}>
        <List name={words.applications} minWidth={860} isLoading={applications.isPending} isStale={applications.isPlaceholderData} sort={sort === "name" ? "name" : `-${sort}`}
          onSort={(chosen) => { const order = chosen.replace("-", ""); go({ order: order === "operations" ? undefined : order }); }}
          columns={[{ name: words.application, sort: "name" }, { name: words.iops, right: true, sort: "operations" }, { name: words.peakIops, right: true, sort: "peak_iops" }, ...(limits.data ? [{ name: words.iopsLimit, right: true }] : []),
            { name: words.throughput, right: true, sort: "bytes_per_second" }, { name: words.peakThroughput, right: true, sort: "peak_bytes_per_second" }, ...(limits.data ? [{ name: words.throughputLimit, right: true }] : []),
            { name: words.latency, right: true, sort: "latency_avg_ms" }, { name: words.errors, right: true, sort: "error_count" }]}>
          {applications.data?.items.map((row) => (
            <Table.Tr key={row.application ?? ""} data-application={row.application ?? ""}>
              <Table.Td style={{ overflowWrap: "anywhere" }}>{row.application ? <Anchor size="sm" component="button" style={{ overflowWrap: "anywhere", textAlign: "left" }} onClick={() => go({ application: row.application ?? undefined })}>{row.application}</Anchor> : words.noApplication}</Table.Td>
              <Table.Td className="right">{iops(row.iops)}</Table.Td>
              <Table.Td className="right">{iops(row.peak_iops)}</Table.Td>
              {limits.data && <Table.Td className="right"><Allowed limits={limits.data} row={row} dimension="operations" /></Table.Td>}
              <Table.Td className="right">{throughput(row.bytes_per_second)}</Table.Td>
              <Table.Td className="right">{throughput(row.peak_bytes_per_second)}</Table.Td>
              {limits.data && <Table.Td className="right"><Allowed limits={limits.data} row={row} dimension="bytes" /></Table.Td>}
              <Table.Td className="right">{duration(row.latency_avg_ms)}{row.highest_p99_latency_ms !== null && <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{words.p99(duration(row.highest_p99_latency_ms))}</Text>}</Table.Td>
              <Table.Td className="right"><Failed figures={row} /></Table.Td>
            </Table.Tr>
          ))}
        </List>
        {applications.data?.items.length === 0 && <Text size="sm" c="dimmed" p="xs">{text.none}</Text>}
        <Text size="xs" c="dimmed" mt={6}>{!may("quota:read") ? words.limitsOff : limits.data?.admitted === null ? words.trailShort : words.limitsNote}</Text>
      </Panel>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Ranked title={words.kinds} first={words.kind} rows={kinds.data?.items} isLoading={kinds.isPending} name={(row) => row.operation ?? words.noKind} />
        <Ranked title={words.clusters} first={words.cluster} rows={clusters.data?.items} isLoading={clusters.isPending} name={(row) => row.cluster ?? words.noCluster} />
      </SimpleGrid>
    </Stack>
  );
}

/** The points that are over. A window counts where it began, so the rate of one that still runs would be too high, or too low. */
function finished(data: StorageSeries | undefined, step: number): StorageSeries["points"] {
  const over = data?.points.filter((point) => Date.parse(point.at) + step * 1000 <= Date.parse(data.as_of)) ?? [];
  return over.length ? over : (data?.points ?? []);
}

function linesOf(times: number[], points: StorageSeries["points"], by: "application" | "operation", application: string | undefined, limits: Limits | undefined) {
  const name = (row: Row) => (by === "application" ? (row.application ?? words.noApplication) : (row.operation ?? words.noKind));
  const split = (value: (figures: Figures) => number | null) => splitBy(times, points, name, value, (point) => point.operations);
  // Means do not add up: of what is beyond eight names none is shown.
  const latency = split((figures) => figures.latency_avg_ms).filter((line) => line.color !== OTHER);
  const bytes = allowanceOf(limits, application, "bytes");
  const allowed: Line[] = bytes ? [{ name: words.limitLine, color: OTHER, isBefore: true, values: times.map(() => bytes.perSecond) }] : [];
  return { iops: split((figures) => figures.iops), throughput: [...split((figures) => figures.bytes_per_second), ...allowed], latency };
}

/** What an application may take a second, and how much of that it was admitted. */
function Allowed({ limits, row, dimension }: { limits: Limits; row: Row; dimension: "operations" | "bytes" }) {
  const known = allowanceOf(limits, row.application, dimension);
  if (!known) return <Text span size="sm" c="dimmed">{words.noLimit}</Text>;
  const shown = (value: number) => (dimension === "bytes" ? throughput(value) : words.units(iops(value)));
  return (
    <>
      {shown(known.perSecond)}
      {known.admitted !== null && <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{words.admitted(dimension === "bytes" ? throughput(known.admitted) : iops(known.admitted), percent(known.admitted / known.perSecond))}</Text>}
    </>
  );
}

function Failed({ figures }: { figures: Figures }) {
  if (!figures.error_count) return <>0</>;
  return <span className="bad">{count(figures.error_count)} <Text span size="xs" c="dimmed">{percent(figures.operations ? figures.error_count / figures.operations : null)}</Text></span>;
}

function Tiles({ figures }: { figures: Figures | undefined }) {
  const tiles = [
    [words.operations, figures ? compact(figures.operations) : "–", figures ? words.split(compact(figures.read_ops), compact(figures.write_ops)) : ""],
    [words.iops, iops(figures?.iops), figures?.peak_iops == null ? "" : words.peak(iops(figures.peak_iops))],
    [words.throughput, throughput(figures?.bytes_per_second), figures?.peak_bytes_per_second == null ? "" : words.peak(throughput(figures.peak_bytes_per_second))],
    [words.bytes, figures ? size(figures.bytes_read + figures.bytes_written) : "–", figures ? words.split(size(figures.bytes_read), size(figures.bytes_written)) : ""],
    [words.latency, duration(figures?.latency_avg_ms), figures?.highest_p99_latency_ms == null ? "" : words.p99(duration(figures.highest_p99_latency_ms))],
  ] as const;
  return (
    <SimpleGrid cols={{ base: 2, sm: 5 }} spacing="sm">
      {tiles.map(([label, value, note]) => (
        <Panel key={label}>
          <div role="group" aria-label={label}><Text size="xs" c="dimmed">{label}</Text><Text className="figure" fw={600} size="lg">{value}</Text><Text size="xs" c="dimmed">{note || "\u00a0"}</Text></div>
        </Panel>
      ))}
    </SimpleGrid>
  );
}

function Ranked({ title, first, rows, isLoading, name }: { title: string; first: string; rows: Row[] | undefined; isLoading: boolean; name: (row: Row) => ReactNode }) {
  return (
    <Panel title={title}>
      <List name={title} minWidth={360} isLoading={isLoading} columns={[first, { name: words.iops, right: true }, { name: words.throughput, right: true }, { name: words.latency, right: true }]}>
        {rows?.map((row, place) => (
          <Table.Tr key={place}>
            <Table.Td style={{ overflowWrap: "anywhere" }}>{name(row)}</Table.Td>
            <Table.Td className="right">{iops(row.iops)}</Table.Td>
            <Table.Td className="right">{throughput(row.bytes_per_second)}</Table.Td>
            <Table.Td className="right">{duration(row.latency_avg_ms)}</Table.Td>
          </Table.Tr>
        ))}
      </List>
      {rows?.length === 0 && <Text size="sm" c="dimmed" p="xs">{text.none}</Text>}
    </Panel>
  );
}

function EmptyStorage() {
  const curl = `curl ${window.location.origin}/v1/events \\
  -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Content-Type: application/json" \\
  -d '[{"type": "storage", "id": "window-'$(date +%s)'", "application": "shop", "cluster": "east", "operation": "read_small",
        "window_seconds": 10, "read_ops": 5120, "bytes_read": 20971520, "avg_latency_ms": 0.8, "p99_latency_ms": 4.2}]'`;
  return <Teach title={words.emptyTitle}><Stack gap="sm"><span>{words.emptyLead}</span><Snippet code={curl} /></Stack></Teach>;
}
