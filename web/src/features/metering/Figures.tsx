// Tiles and money as Overview and Costs show them.
import { Alert, Anchor, Group, Paper, Skeleton, Text, Tooltip } from "@mantine/core";
import type { Metrics } from "../../api/types";
import { useScene } from "../../app/context";
import { compact, count, delta, duration, money, percent } from "../../app/format";
import { text } from "../../app/text";

/** Whether no cost is known at all: then a dash stands, never a zero. */
export const isUnknown = (metrics: Metrics) => metrics.requests > 0 && metrics.unpriced === metrics.requests;

export function Cost({ metrics, currency }: { metrics: Metrics; currency: string }) {
  const shown = isUnknown(metrics) ? "–" : money(metrics.cost, currency);
  const others = Object.entries(metrics.cost_other ?? {}).map(([name, amount]) => money(amount, name)).join(", ");
  const reason = metrics.unpriced ? text.unpriced(count(metrics.unpriced)) : "";
  return reason || others ? <Tooltip label={[others, reason].filter(Boolean).join("; ")}><span>{shown}{others ? " +" : ""}{reason ? " *" : ""}</span></Tooltip> : <>{shown}</>;
}

/** What the period before cost, and how much more or less it is now. */
export function Then({ metrics, now, currency }: { metrics: Metrics | undefined; now: Metrics; currency: string }) {
  if (!metrics?.requests || isUnknown(metrics)) return <Text span size="sm" c="dimmed">–</Text>;
  const change = isUnknown(now) ? null : delta(Number(now.cost ?? 0), Number(metrics.cost ?? 0));
  return <>{money(metrics.cost, currency)}{change && <Text span size="xs" c="dimmed" ml={6}>{change}</Text>}</>;
}

export interface TileData { label: string; value: string; change: string | null; isGood: boolean | null; note: string; path?: string; more?: Record<string, string> }

export function tilesOf(now: Metrics | undefined, before: Metrics | undefined, currency: string): TileData[] {
  if (!now) return [text.requests, text.errorRate, text.p95, text.tokenFigure, text.cost].map((label) => ({ label, value: "–", change: null, isGood: null, note: "" }));
  const worse = (a: number | null | undefined, b: number | null | undefined) => (a == null || b == null || a === b ? null : a < b);
  const hidden = isUnknown(now);
  const isNone = now.requests === 0;
  // A change needs something that has changed.
  const against = !before ? "" : before.requests === 0 ? text.nothingBefore : text.versus;
  const sum = (metrics: Metrics | undefined) => (metrics ? metrics.tokens_input + metrics.tokens_output : null);
  return [
    { label: text.requests, value: count(now.requests), change: delta(now.requests, before?.requests ?? null), isGood: null, note: against, path: "/calls" },
    { label: text.errorRate, value: percent(isNone ? null : now.error_rate), change: isNone || !before?.requests ? null : delta(now.error_rate, before?.error_rate ?? null), isGood: worse(now.error_rate, before?.error_rate), note: isNone ? text.noCalls : `${count(now.errors)} ${text.errors.toLowerCase()}`, path: "/calls", more: { errors: "true" } },
    { label: text.p95, value: duration(now.latency_p95_ms), change: delta(now.latency_p95_ms, before?.latency_p95_ms ?? null), isGood: worse(now.latency_p95_ms, before?.latency_p95_ms), note: now.latency_p95_ms == null ? text.noLatency : `p50 ${duration(now.latency_p50_ms)}, p99 ${duration(now.latency_p99_ms)}` },
    { label: text.tokenFigure, value: compact(sum(now) ?? 0), change: delta(sum(now), sum(before)), isGood: null, note: `${compact(now.tokens_input)} in, ${compact(now.tokens_output)} out` },
    { label: text.cost, value: hidden ? "–" : money(now.cost, currency), change: hidden ? null : delta(Number(now.cost ?? 0), before?.cost == null ? null : Number(before.cost)), isGood: null, note: hidden ? text.noCost : against, path: "/costs" },
  ];
}

export function Tile({ label, value, change, isGood, note, path, more, isLoading, filters }: TileData & { isLoading: boolean; filters: Record<string, string> }) {
  const { go } = useScene();
  const figure = <Text className="figure" data-figure component="span" display="block" fz={{ base: 20, sm: 26 }} fw={650} lh={1.25}>{value}</Text>;
  return (
    <Paper withBorder p="sm" radius="md" role="group" aria-label={label}>
      <Text size="xs" c="dimmed">{label}</Text>
      {isLoading ? <Skeleton h={32} my={1} /> : path ? (
        <Anchor href={path} c="inherit" underline="hover" onClick={(event) => { event.preventDefault(); go({ ...filters, ...more }, path); }}>{figure}</Anchor>
      ) : figure}
      <Text size="xs" c="dimmed" className="figure" lineClamp={1}>
        {change && <Text span inherit fw={600} className={isGood === null ? undefined : isGood ? "good" : "bad"}>{change} </Text>}{note || "\u00a0"}
      </Text>
    </Paper>
  );
}

/** Calls whose cost nobody knows are said aloud: a sum that lacks something is not the sum. */
export function Unpriced({ metrics, filters }: { metrics: Metrics | undefined; filters: Record<string, string> }) {
  const { go } = useScene();
  if (!metrics?.unpriced) return null;
  return (
    <Alert color="orange" variant="light" p="xs" role="note">
      <Group gap="xs"><Text size="sm">{text.unpriced(count(metrics.unpriced))}. {text.unpricedLead}</Text>
        <Anchor size="sm" c="inherit" underline="always" href="/calls?unpriced=true" onClick={(event) => { event.preventDefault(); go({ ...filters, unpriced: "true" }, "/calls"); }}>{text.showThem}</Anchor></Group>
    </Alert>
  );
}
