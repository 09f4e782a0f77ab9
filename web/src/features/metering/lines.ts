// From the API's points to the lines of a chart.
import type { Point, Series } from "../../api/types";
import { calendarOf, type Span } from "../../app/range";
import { text } from "../../app/text";
import type { Line } from "./Chart";
import { colorOf, OTHER } from "./colors";

const MAX_SERIES = 8;

const CLOSE_MS = 3 * 3_600_000;

/** Where the points of a chart lie, those without calls too. Days, weeks and months begin where the zone says. */
export function timesOf(span: Span, data: Series | undefined, zone: string, interval = span.interval): number[] {
  if (["1d", "1w", "1mo"].includes(interval)) {
    // Where midnight is skipped a day begins later; the answer knows when.
    const known = [...new Set((data?.points ?? []).map((point) => Date.parse(point.at)))];
    const found = calendarOf(span.from, span.to, zone, interval).map((at) => known.find((other) => Math.abs(other - at) < CLOSE_MS) ?? at);
    return [...new Set([...found, ...known])].sort((a, b) => a - b);
  }
  const step = span.step * 1000;
  const first = Math.floor(span.from / step) * step;
  return Array.from({ length: Math.ceil((span.to - first) / step) }, (_, place) => first + place * step);
}

export const costOf = (point: Point): number | null => (point.cost == null ? null : Number(point.cost));

export function oneLine(times: number[], data: Series | undefined, name: string, color: string, value: (point: Point) => number | null): Line[] {
  const found = new Map((data?.points ?? []).map((point) => [Date.parse(point.at), value(point)]));
  return [{ name, color, values: times.map((at) => found.get(at) ?? null) }];
}

/** The period before as one dashed line: its first point stands under the first one of now, and so on. */
export function lineBefore(times: number[], span: Span, data: Series | undefined, zone: string, value: (point: Point) => number | null, interval = span.interval): Line[] {
  if (!data?.points.length) return [];
  const then = timesOf(span, data, zone, interval);
  const found = new Map(data.points.map((point) => [Date.parse(point.at), value(point)]));
  const values = times.map((_, place) => found.get(then[place] ?? NaN) ?? null);
  // One point is no line.
  return values.filter((item) => item !== null).length < 2 ? [] : [{ name: text.periodBefore, color: OTHER, isBefore: true, values }];
}

/** One line for each value of a dimension, the largest eight apart and the rest together. */
export const splitLines = (times: number[], data: Series | undefined, nameOf: (point: Point) => string, value: (point: Point) => number | null): Line[] =>
  splitBy(times, data?.points ?? [], nameOf, value, (point) => point.requests);

/** As `splitLines`, for points of any kind: `weight` says which names are the largest. */
export function splitBy<P extends { at: string }>(times: number[], points: P[], nameOf: (point: P) => string, value: (point: P) => number | null, weight: (point: P) => number): Line[] {
  const totals = new Map<string, number>();
  for (const point of points) totals.set(nameOf(point), (totals.get(nameOf(point)) ?? 0) + weight(point));
  const names = [...totals].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const shown = new Set(names.slice(0, names.length > MAX_SERIES ? MAX_SERIES - 1 : MAX_SERIES));
  const sums = new Map<string, Map<number, number>>();
  for (const point of points) {
    const amount = value(point);
    if (amount == null) continue;
    const name = shown.has(nameOf(point)) ? nameOf(point) : text.other;
    const line = sums.get(name) ?? new Map<number, number>();
    const at = Date.parse(point.at);
    line.set(at, (line.get(at) ?? 0) + amount);
    sums.set(name, line);
  }
  return [...shown, ...(names.length > shown.size ? [text.other] : [])].map((name) => ({ name, color: colorOf(name), values: times.map((at) => sums.get(name)?.get(at) ?? null) }));
}
