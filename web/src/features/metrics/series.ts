// From the address to the question, and from the answer to lines and figures.
import { compact, duration, size } from "../../app/format";
import type { Span, View } from "../../app/range";
import { colorOf } from "../metering/colors";
import type { Line } from "../metering/Chart";
import { words } from "./words";

export type Kind = "counter" | "gauge" | "histogram" | "summary";
export interface SeriesUsage { active: number; limit: number; refused_points: number; last_refused_at: string | null; last_refused_metric: string }
export interface Metric { name: string; kind: Kind; unit: string; description: string; series: number; last_seen: string | null }
export interface LabelValues { name: string; values: string[]; count: number }
export interface Figures extends Record<string, unknown> { within?: Record<string, [number | null, number | null]>; quantiles?: Record<string, number> | null }
export interface Group { labels: Record<string, string>; series: number; whole: Figures; points: (Figures & { at: string })[] }
export interface MetricSeries { name: string; kind: Kind; unit: string; description: string; period: string; from: string; to: string; series: number; groups: Group[]; groups_left_off: number }

export const NO_UNIT = "none";
export const PERIODS: [string, number][] = [["1m", 60], ["5m", 300], ["15m", 900], ["1h", 3600], ["1d", 86_400], ["1w", 604_800]];
export const PERCENTILES = ["p50", "p90", "p95", "p99"];
/** What can be drawn of each kind, the usual first. */
export const SHOWN: Record<Kind, string[]> = {
  counter: ["rate", "increase"],
  gauge: ["avg", "last", "sum", "min", "max"],
  histogram: ["percentiles", "rate", "count", "avg", "sum", "min", "max", ...PERCENTILES],
  summary: ["rate", "count", "avg", "sum"],
};
const MAX_LINES = 8;
const MINUTES_KEPT_MS = 14 * 86_400_000;
const LABEL = "label.";

/** A label as people read it. */
export const labelText = (name: string): string => (name.startsWith(LABEL) ? name.slice(LABEL.length) : name);
export const isLabel = (name: string): boolean => ["service", "environment", "application", "instance"].includes(name) || name.startsWith(LABEL);

/** The period that other charts have over such a range too; minutes are kept for two weeks. */
export function periodOf(span: Span, chosen: string | undefined, now: number): string {
  if (chosen && PERIODS.some(([name]) => name === chosen)) return chosen;
  return ["1m", "5m"].includes(span.interval) && now - span.from > MINUTES_KEPT_MS ? "15m" : span.interval;
}

/** The filters in the address, by label. */
export const filtersOf = (view: View): Record<string, string> => Object.fromEntries(Object.entries(view).filter((pair): pair is [string, string] => isLabel(pair[0]) && pair[1] !== undefined));

/** Question about one metric; an empty unit is asked for, as the same name may have another. */
export function questionOf(metric: string, kind: string | undefined, unit: string | undefined, more: Record<string, string | undefined>): string {
  const asked = new URLSearchParams({ name: metric, ...(kind ? { kind } : {}), ...(unit ? { unit: unit === NO_UNIT ? "" : unit } : {}) });
  for (const [name, value] of Object.entries(more)) if (value) asked.append(name, value);
  return asked.toString();
}

/** How a value of a unit is written. */
export function writerOf(unit: string, figure: string): (value: number | null | undefined) => string {
  const isNumber = figure === "count" || figure === "rate" || (figure === "increase" && ["1", ""].includes(unit));
  const plain = (value: number) => (Math.abs(value) >= 1000 ? compact(value) : String(Number(value.toPrecision(3))));
  return (value) => {
    if (value == null || !Number.isFinite(value)) return "–";
    if (figure === "rate") return `${unit === "By" ? size(value) : plain(value)}/s`;
    if (isNumber) return plain(value);
    if (unit === "s" || unit === "ms" || unit === "us" || unit === "ns") {
      const ms = value * { s: 1000, ms: 1, us: 1e-3, ns: 1e-6 }[unit];
      return ms < 0 ? `−${duration(-ms)}` : duration(ms);
    }
    if (unit === "By") return size(value);
    const said = unit.replace(/[{}]/g, "");
    return said && said !== "1" ? `${plain(value)} ${said}` : plain(value);
  };
}

export function timesOf(data: MetricSeries | undefined): number[] {
  if (!data) return [];
  const step = (PERIODS.find(([name]) => name === data.period)?.[1] ?? 60) * 1000;
  const [from, to] = [Date.parse(data.from), Date.parse(data.to)];
  return Array.from({ length: Math.round((to - from) / step) }, (_, place) => from + place * step);
}

export const groupText = (group: Group): string => {
  const values = Object.values(group.labels);
  return values.length ? values.map((value) => value || words.none).join(" · ") : words.whole;
};

/** Lines of a chart: one for each of the largest groups, or for each percentile of the only one. */
export function linesOf(times: number[], groups: Group[], figure: string): Line[] {
  const line = (group: Group, name: string, of: string): Line => {
    const found = new Map(group.points.map((point) => [Date.parse(point.at), point[of] as number | null]));
    return { name, color: colorOf(name), values: times.map((at) => found.get(at) ?? null) };
  };
  const [only] = groups;
  if (figure === "percentiles" && only && groups.length === 1) return PERCENTILES.map((name) => line(only, name, name));
  return groups.slice(0, MAX_LINES).map((group) => line(group, groupText(group), figure === "percentiles" ? "p95" : figure));
}

/** Between what a percentile lies, in words; nothing where it is no percentile. */
export function withinText(figures: Figures, name: string, write: (value: number | null | undefined) => string): string | undefined {
  const ends = figures.within?.[name];
  if (!ends) return undefined;
  const [low, high] = ends;
  if (low !== null && high !== null) return words.between(write(low), write(high));
  return low !== null ? words.above(write(low)) : high !== null ? words.below(write(high)) : undefined;
}
