// From a budget's days to the lines of its chart. Pure.
import { percent } from "../../app/format";
import type { Line } from "../metering/Chart";
import type { BudgetDetail } from "./types";
import { words } from "./words";

const STEP_MS = { day: 86_400_000, hour: 3_600_000 };

/** Spend so far, the forecast from there to the period's end, and a flat line for each threshold that matters. */
export function linesOf(detail: BudgetDetail): { times: number[]; lines: Line[]; step: number } {
  const step = STEP_MS[detail.step];
  const times = detail.points.map((point) => Date.parse(point.at));
  const ends = Date.parse(detail.period_ends_at);
  // Days to come may be an hour longer or shorter: their number is what counts here.
  for (let at = (times.at(-1) ?? Date.parse(detail.period_starts_at) - step) + step; at < ends - step / 3; at += step) times.push(at);
  const known = detail.points.map((point) => Number(point.total));
  const last = known.length - 1;
  const lines: Line[] = [{ name: words.total, color: "#1c7ed6", values: times.map((_, place) => known[place] ?? null) }];
  const end = detail.forecast?.period_end;
  if (end != null && last >= 0 && times.length - 1 > last) {
    const from = known[last] ?? 0;
    const rise = (Number(end) - from) / (times.length - 1 - last);
    lines.push({ name: words.forecastLine, color: "#1c7ed6", isBefore: true, values: times.map((_, place) => (place < last ? null : from + rise * (place - last))) });
  }
  const amount = Number(detail.budget.amount);
  const top = Math.max(...known, Number(end ?? 0), amount * 0.05);
  // A threshold far above everything would press the rest flat.
  for (const share of detail.budget.thresholds) {
    const value = amount * share;
    if (value <= top * 4 || share <= 1) lines.push({ name: share === 1 ? words.amountLine : words.thresholdLine(percent(share)), color: share >= 1 ? "#e03131" : "#f08c00", isBefore: true, values: times.map(() => value) });
  }
  return { times, lines, step: step / 1000 };
}
