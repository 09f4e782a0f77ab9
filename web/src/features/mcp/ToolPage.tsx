import { Anchor, Breadcrumbs, Button, Group, SimpleGrid, Skeleton, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { useScene } from "../../app/context";
import { count, duration, instant } from "../../app/format";
import { mcpText } from "../../app/mcpText";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { rfc } from "../../app/range";
import { text } from "../../app/text";
import { colorOf } from "../metering/colors";
import { timesOf } from "../metering/lines";
import { Tiles } from "./Mcp";
import { rankingOf, toolCallsOf, toolSeriesOf, type Figures, type ToolCall, type ToolSeries } from "./queries";
import { ToolCalls } from "./ToolCalls";

const Chart = lazy(() => import("../metering/Chart"));
const counted = (value: number | null) => count(value);

/** One tool: its trend, how long its calls take, the slowest, and what fails. */
export function ToolPage() {
  const { view, span, zone, organization, go } = useScene();
  const asked = { server: view.server, tool: view.tool };
  const figures = useQuery(rankingOf(organization, span, "tools", asked));
  const series = useQuery(toolSeriesOf(organization, span, zone, asked));
  const slowest = useQuery(toolCallsOf(organization, span, { ...asked, sort: "-duration_ms", limit: "10" }));
  const failed = useQuery(toolCallsOf(organization, span, { ...asked, failed: "true", limit: "200" }));
  const times = useMemo(() => timesOf(span, undefined, zone), [span, zone]);
  const lines = useMemo(() => linesOf(times, series.data), [times, series.data]);
  const zoom = (from: number, to: number) => go({ range: undefined, from: rfc(from), to: rfc(to) });
  const trail = <Trail last={view.tool ?? mcpText.tools} />;
  const broken = [figures, series, slowest, failed].find((query) => query.isError);
  if (broken) return <Stack gap="sm">{trail}<Heading title={view.tool ?? mcpText.tools} /><Problem error={broken.error} retry={() => void Promise.all([figures.refetch(), series.refetch(), slowest.refetch(), failed.refetch()])} /></Stack>;
  const chart = { times, zone, step: span.step, onZoom: zoom };
  return (
    <Stack gap="sm">
      {trail}
      <div><Heading title={view.tool ?? mcpText.tools} /><Text size="sm" c="dimmed">{view.server ?? mcpText.noServer}</Text></div>
      <Tiles figures={figures.data?.total} />
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Panel title={mcpText.callsOverTime}><Suspense fallback={<Skeleton h={190} />}><Chart title={mcpText.callsOverTime} kind="bar" format={counted} lines={lines.calls} {...chart} /></Suspense></Panel>
        <Panel title={mcpText.durations}><Suspense fallback={<Skeleton h={190} />}><Chart title={mcpText.durations} kind="line" format={duration} lines={lines.durations} {...chart} /></Suspense></Panel>
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Panel title={mcpText.distribution}><Distribution bins={series.data?.histogram} /></Panel>
        <Panel title={mcpText.failing}><Failing calls={failed.data?.items} isLoading={failed.isPending} /></Panel>
      </SimpleGrid>
      <Panel title={mcpText.slowestCalls}><ToolCalls name={mcpText.slowestCalls} calls={slowest.data?.items} isLoading={slowest.isPending} isStale={slowest.isPlaceholderData} /></Panel>
      <Search asked={asked} />
    </Stack>
  );
}

export function Trail({ last }: { last: string }) {
  const { go } = useScene();
  return (
    <Breadcrumbs separator="›" aria-label={text.trail} component="nav">
      <Anchor size="sm" href="/tools" onClick={(event) => { event.preventDefault(); go({ at: undefined, server: undefined, tool: undefined }, "/tools"); }}>{text.mcp}</Anchor>
      <Text size="sm" c="dimmed" style={{ overflowWrap: "anywhere" }}>{last}</Text>
    </Breadcrumbs>
  );
}

function linesOf(times: number[], data: ToolSeries | undefined) {
  const found = new Map((data?.points ?? []).map((point) => [Date.parse(point.at), point]));
  const values = (of: (point: Figures) => number | null) => times.map((at) => { const point = found.get(at); return point ? of(point) : null; });
  return {
    calls: [
      { name: mcpText.ok, color: colorOf(mcpText.ok), values: values((point) => point.ok) },
      { name: mcpText.toolErrors, color: colorOf(mcpText.toolErrors), values: values((point) => point.tool_errors) },
      { name: mcpText.protocolErrors, color: colorOf(mcpText.protocolErrors), values: values((point) => point.protocol_errors) },
    ],
    durations: [{ name: mcpText.p95, color: colorOf(mcpText.p95), values: values((point) => point.duration_p95_ms) }],
  };
}

const ROWS = 10;

/** The distribution of the durations as bars, few enough to read: neighbouring bins of the sketch together. */
function Distribution({ bins }: { bins: ToolSeries["histogram"] | undefined }) {
  if (!bins) return <Skeleton h={190} />;
  if (!bins.length) return <Text size="sm" c="dimmed">{text.noTiming}</Text>;
  const [low, high] = [Math.max(bins[0]?.from_ms ?? 0, 0.001), bins.at(-1)?.to_ms ?? 1];
  const growth = Math.max((high / low) ** (1 / ROWS), 1.0001);
  const sums = Array.from({ length: ROWS }, (_, place) => ({ from: low * growth ** place, to: low * growth ** (place + 1), calls: 0 }));
  for (const bin of bins) {
    const place = Math.min(ROWS - 1, Math.max(0, Math.floor(Math.log(Math.max(bin.from_ms, low) / low) / Math.log(growth) + 1e-9)));
    const sum = sums[place];
    if (sum) sum.calls += bin.calls;
  }
  const most = Math.max(...sums.map((sum) => sum.calls));
  return (
    <Table layout="fixed" verticalSpacing={3} aria-label={mcpText.distribution}>
      <Table.Tbody>
        {sums.map((sum) => (
          <Table.Tr key={sum.from}>
            <Table.Th scope="row" w={150} style={{ fontWeight: 400 }} className="figure">{duration(sum.from)} – {duration(sum.to)}</Table.Th>
            <Table.Td><div aria-hidden style={{ height: 12, borderRadius: 3, width: `${(100 * sum.calls) / most}%`, background: colorOf(mcpText.ok) }} /></Table.Td>
            <Table.Td w={70} className="right">{count(sum.calls)}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

/** Failed calls by equal parameters, the most frequent first. */
function Failing({ calls, isLoading }: { calls: ToolCall[] | undefined; isLoading: boolean }) {
  const { zone, go } = useScene();
  const groups = new Map<string, { last: ToolCall; times: number }>();
  for (const call of calls ?? []) {
    const known = groups.get(call.parameters_hash ?? "");
    if (known) known.times += 1;
    else groups.set(call.parameters_hash ?? "", { last: call, times: 1 });
  }
  const rows = [...groups].sort((a, b) => b[1].times - a[1].times).slice(0, ROWS);
  const open = (call: ToolCall) => go({ at: call.timestamp }, `/tools/calls/${encodeURIComponent(call.id)}`);
  if (calls && !rows.length) return <Text size="sm" c="dimmed">{mcpText.noFailures}</Text>;
  return (
    <>
      <Text size="xs" c="dimmed" mb={4}>{mcpText.failingLead}</Text>
      <List name={mcpText.failing} minWidth={360} isLoading={isLoading} columns={[{ name: mcpText.times, right: true }, mcpText.lastError, mcpText.lastFailed]}>
        {rows.map(([hash, { last, times }]) => (
          <Table.Tr key={hash} className="open" tabIndex={0} onClick={() => open(last)} onKeyDown={(event) => event.key === "Enter" && open(last)}>
            <Table.Td className="right">{count(times)}</Table.Td>
            <Table.Td style={{ overflowWrap: "anywhere" }}>{last.error_message ?? last.error_type ?? mcpText.outcomes[last.outcome]}</Table.Td>
            <Table.Td>{instant(last.timestamp, zone)}</Table.Td>
          </Table.Tr>
        ))}
      </List>
    </>
  );
}

/** The newest calls of the tool, or those whose parameters hold what is asked for. */
function Search({ asked }: { asked: Record<string, string | undefined> }) {
  const { view, span, organization, go } = useScene();
  const [wanted, setWanted] = useState(view.q ?? "");
  const [fault, setFault] = useState<string | null>(null);
  const calls = useQuery(toolCallsOf(organization, span, { ...asked, parameters: view.q, limit: "50" }));
  const search = () => {
    try {
      const value: unknown = wanted.trim() ? JSON.parse(wanted) : null;
      if (value !== null && (typeof value !== "object" || Array.isArray(value))) throw new Error("no object");
      setFault(null);
      go({ q: value === null ? undefined : JSON.stringify(value) });
    } catch {
      setFault(mcpText.notJson);
    }
  };
  return (
    <Panel title={mcpText.toolCalls}>
      <form onSubmit={(event) => { event.preventDefault(); search(); }}>
        <Group gap="xs" align="flex-start" mb="xs">
          <TextInput size="xs" style={{ flex: 1 }} aria-label={mcpText.find} placeholder={`${mcpText.findLead}: {"path": "/etc"}`} value={wanted} error={fault} onChange={(event) => setWanted(event.currentTarget.value)} />
          <Button size="xs" type="submit" variant="default">{mcpText.search}</Button>
        </Group>
      </form>
      {calls.isError ? <Problem error={calls.error} retry={() => void calls.refetch()} /> : <ToolCalls name={mcpText.toolCalls} calls={calls.data?.items} isLoading={calls.isPending} isStale={calls.isPlaceholderData} />}
      {calls.data?.items.length === 0 && <Text size="sm" c="dimmed" p="xs">{mcpText.nothingFound}</Text>}
    </Panel>
  );
}
