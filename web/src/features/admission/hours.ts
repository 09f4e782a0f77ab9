// What a bucket gave by hour in the last day, and what its limit allows in one. Pure.
import type { ActiveLimit, TokenUsage } from "../../api/admission";

const HOUR_MS = 3_600_000;
export const HOURS = 24;
/** About how many hours a window lasts. */
const LASTS: Record<string, number> = { minute: 1 / 60, hour: 1, day: 24, week: 168, month: 730, quarter: 2190, year: 8760 };

/** The hours of a day that ends now, each with what was taken in it: the hour that has begun is the last. */
export function hoursOf(usage: TokenUsage[], now: number): { times: number[]; taken: number[] } {
  const last = Math.floor(now / HOUR_MS) * HOUR_MS;
  const times = Array.from({ length: HOURS }, (_, place) => last - (HOURS - 1 - place) * HOUR_MS);
  const known = new Map(usage.map((item) => [Date.parse(item.begins), item.consumed]));
  return { times, taken: times.map((at) => known.get(at) ?? 0) };
}

/** What a limit allows in an hour: what refills, or a window's amount; of longer windows an even share. Nothing for calls in flight. */
export function allowedAnHour(limit: ActiveLimit): number | null {
  if (limit.rate_per_second !== null) return limit.rate_per_second * 3600;
  const lasts = limit.period === null ? undefined : LASTS[limit.period];
  return lasts === undefined ? null : limit.capacity / lasts;
}

/** Whether the allowance is a share of a longer window, which one hour may well pass. */
export const isShare = (limit: ActiveLimit): boolean => limit.rate_per_second === null && (LASTS[limit.period ?? ""] ?? 0) > 1;
