import { Anchor, Breadcrumbs, Button, Group as Row, MultiSelect, NativeSelect, Skeleton, Stack, Table, Text } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { request } from "../../api/client";
import { useScene } from "../../app/context";
import { Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { rfc } from "../../app/range";
import { text } from "../../app/text";
import { colorOf } from "../metering/colors";
import { KindMark } from "./KindMark";
import { filtersOf, groupText, labelText, linesOf, PERCENTILES, periodOf, PERIODS, questionOf, SHOWN, timesOf, withinText, writerOf, type Group, type Kind, type LabelValues, type MetricSeries } from "./series";
import { words } from "./words";

const Chart = lazy(() => import("../metering/Chart"));
const FEW_LABELS = 4;
const COMMON = { placeholderData: keepPreviousData, staleTime: 15_000 };

/** One metric: over time, by group, with filters; and what each group comes to. */
export function Explorer({ metric }: { metric: string }) {
  const { view, span, zone, organization, go } = useScene();
  const [now] = useState(() => Date.now());
  const filters = filtersOf(view);
  const groups = view.group?.split(",").filter(Boolean) ?? [];
  const period = periodOf(span, view.period, now);
  const named = { kind: view.kind, unit: view.unit };
  const labels = useQuery({ ...COMMON, queryKey: ["metering", organization, "metrics", "labels", metric, named], queryFn: ({ signal }) => request<LabelValues[]>(`/api/metrics/labels?${questionOf(metric, view.kind, view.unit, {})}`, {}, signal) });
  const asked = questionOf(metric, view.kind, view.unit, { period, from: rfc(span.from), to: rfc(span.to), group_by: groups.join(","), ...filters });
  const series = useQuery({ ...COMMON, queryKey: ["metering", organization, "metrics", "series", asked], queryFn: ({ signal }) => request<MetricSeries>(`/api/metrics/series?${asked}`, {}, signal) });
  const kind = series.data?.kind ?? (view.kind as Kind | undefined) ?? "gauge";
  const figure = SHOWN[kind].includes(view.show ?? "") ? (view.show as string) : (SHOWN[kind][0] ?? "avg");
  const unit = series.data?.unit ?? "";
  const broken = [series, labels].find((query) => query.isError);
  const isKnown = series.data !== undefined || !broken;
  return (
    <Stack gap="sm">
      <Breadcrumbs separator="›" aria-label={text.trail} component="nav">
        <Anchor size="sm" href="/explore" onClick={(event) => { event.preventDefault(); go({ metric: undefined, kind: undefined, unit: undefined, group: undefined, period: undefined, show: undefined, ...bare(view) }, "/explore"); }}>{words.title}</Anchor>
        <Text size="sm" c="dimmed" style={{ overflowWrap: "anywhere" }}>{metric}</Text>
      </Breadcrumbs>
      <div style={{ overflowWrap: "anywhere" }}>
        <Heading title={metric}>{(series.data || view.kind) && <KindMark kind={kind} />}{series.data && <Text size="sm" c="dimmed">{words.facts(unit, series.data.series)}</Text>}</Heading>
        {series.data?.description && <Text size="sm" c="dimmed">{series.data.description}</Text>}
      </div>
      {isKnown && <Row gap="xs" align="end">
        <NativeSelect size="xs" label={words.figure} value={figure} data={SHOWN[kind].map((name) => ({ value: name, label: words.figures[name] ?? name }))} onChange={(event) => go({ show: event.currentTarget.value === SHOWN[kind][0] ? undefined : event.currentTarget.value })} />
        <NativeSelect size="xs" label={words.period} value={view.period ?? ""} data={[{ value: "", label: words.byItself(words.periods[periodOf(span, undefined, now)] ?? period) }, ...PERIODS.map(([name]) => ({ value: name, label: words.periods[name] ?? name }))]} onChange={(event) => go({ period: event.currentTarget.value || undefined })} />
        <MultiSelect size="xs" label={words.groupBy} placeholder={groups.length ? undefined : words.noGroups} miw={170} maxValues={4} value={groups} data={[...new Set([...(labels.data ?? []).map((label) => label.name), ...groups])].map((name) => ({ value: name, label: labelText(name) }))} onChange={(chosen) => go({ group: chosen.join(",") || undefined })} clearButtonProps={{ "aria-label": words.noGroups }} />
      </Row>}
      <Filters labels={labels.data ?? []} filters={filters} onChange={(name, value) => go({ [name]: value || undefined })} onClear={() => go(bare(view))} />
      {broken ? <Problem error={broken.error} retry={() => void Promise.all([series.refetch(), labels.refetch()])} /> : series.data && !series.data.groups.length ? (
        <Teach title={series.data.series ? words.nothingHere : words.noneWith}>{Object.keys(filters).length > 0 && <Button size="compact-sm" variant="default" onClick={() => go(bare(view))}>{words.without}</Button>}</Teach>
      ) : <Drawn data={series.data} figure={figure} zone={zone} isStale={series.isPlaceholderData} onZoom={(from, to) => go({ range: undefined, from: rfc(from), to: rfc(to) })} />}
    </Stack>
  );
}

const bare = (view: Record<string, string | undefined>) => Object.fromEntries(Object.keys(filtersOf(view)).map((name) => [name, undefined]));

function Filters({ labels, filters, onChange, onClear }: { labels: LabelValues[]; filters: Record<string, string>; onChange: (name: string, value: string) => void; onClear: () => void }) {
  const [isAll, setAll] = useState(false);
  // A label of which all series have the one value tells nothing apart.
  const useful = labels.filter((label) => label.count > 1 || filters[label.name] !== undefined);
  const shown = isAll ? useful : useful.filter((label, place) => place < FEW_LABELS || filters[label.name] !== undefined);
  if (!useful.length) return null;
  return (
    <Row gap="xs" align="end">
      {shown.map((label) => (
        <NativeSelect key={label.name} size="xs" maw={220} label={labelText(label.name)} value={filters[label.name] ?? ""} onChange={(event) => onChange(label.name, event.currentTarget.value)}
          data={[{ value: "", label: words.any(labelText(label.name)) }, ...new Set([...label.values, ...(filters[label.name] ? [filters[label.name] as string] : [])])]} />
      ))}
      {useful.length > FEW_LABELS && <Button size="xs" variant="subtle" onClick={() => setAll(!isAll)}>{isAll ? words.fewer : words.more(useful.length - FEW_LABELS)}</Button>}
      {Object.keys(filters).length > 0 && <Button size="xs" variant="default" onClick={onClear}>{words.without}</Button>}
    </Row>
  );
}

function Drawn({ data, figure, zone, isStale, onZoom }: { data: MetricSeries | undefined; figure: string; zone: string; isStale: boolean; onZoom: (from: number, to: number) => void }) {
  const times = useMemo(() => timesOf(data), [data]);
  const lines = useMemo(() => linesOf(times, data?.groups ?? [], figure), [times, data, figure]);
  const isMany = (data?.groups.length ?? 0) > 1;
  const drawn = figure === "percentiles" ? (isMany ? "p95" : "p50") : figure;
  const title = words.figures[figure === "percentiles" && isMany ? "p95" : figure] ?? figure;
  const step = PERIODS.find(([name]) => name === data?.period)?.[1] ?? 60;
  return (
    <>
      <Panel title={title}>
        {data ? (
          <Suspense fallback={<Skeleton h={190} />}>
            <Chart title={title} kind={["increase", "count"].includes(figure) ? "bar" : "line"} times={times} lines={lines} zone={zone} step={step} format={writerOf(data.unit, drawn)} onZoom={onZoom} />
          </Suspense>
        ) : <Skeleton h={190} />}
      </Panel>
      <Panel title={words.groups}>
        <Groups data={data} isStale={isStale} />
        {data && data.groups_left_off > 0 && <Text size="xs" c="dimmed" mt={6}>{words.leftOff(data.groups_left_off)}</Text>}
        <Text size="xs" c="dimmed" mt={6}>{data?.kind === "histogram" && `${words.within} `}{words.utc}</Text>
      </Panel>
    </>
  );
}

const COLUMNS: Record<Kind, string[]> = { counter: ["increase", "rate"], gauge: ["avg", "min", "max", "last", "sum"], histogram: ["count", "rate", "avg", ...PERCENTILES, "max"], summary: ["count", "rate", "avg", "quantiles"] };

function Groups({ data, isStale }: { data: MetricSeries | undefined; isStale: boolean }) {
  const { go } = useScene();
  const columns = data ? COLUMNS[data.kind] : ["avg"];
  const only = (group: Group) => go({ group: undefined, ...Object.fromEntries(Object.entries(group.labels).filter(([, value]) => value)) });
  return (
    <List name={words.groups} minWidth={520} isLoading={!data} isStale={isStale} columns={[words.group, { name: words.series, right: true }, ...columns.map((name) => ({ name: words.figures[name] ?? name, right: true }))]}>
      {data?.groups.map((group, place) => {
        const name = groupText(group);
        const isGrouped = Object.keys(group.labels).length > 0;
        return (
          <Table.Tr key={name} className={isGrouped ? "open" : undefined} tabIndex={isGrouped ? 0 : undefined} onClick={() => isGrouped && only(group)} onKeyDown={(event) => event.key === "Enter" && isGrouped && only(group)}>
            <Table.Td miw={110}>
              <Row gap={6} wrap="nowrap">
                {isGrouped && place < 8 && <span aria-hidden style={{ flex: "none", width: 10, height: 10, borderRadius: 2, background: colorOf(name) }} />}
                <span style={{ overflowWrap: "anywhere" }}>{name}</span>
              </Row>
            </Table.Td>
            <Table.Td className="right">{group.series}</Table.Td>
            {columns.map((column) => {
              const write = writerOf(data.unit, column);
              return <Table.Td key={column} className="right" title={withinText(group.whole, column, write)}>{column === "quantiles" ? quantilesText(group, write) : write(group.whole[column] as number | null)}</Table.Td>;
            })}
          </Table.Tr>
        );
      })}
    </List>
  );
}

const quantilesText = (group: Group, write: (value: number) => string) => Object.entries(group.whole.quantiles ?? {}).map(([fraction, value]) => `p${Number(fraction) * 100} ${write(value)}`).join(", ") || "–";
