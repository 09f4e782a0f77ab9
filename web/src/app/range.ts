// The view's state lives in the address: ?range=24h, or ?from=…&to=…, and &zone=…
export interface View { range?: string; from?: string; to?: string; zone?: string; errors?: boolean; provider?: string; organization?: string }

export const RANGES: Record<string, number> = { "1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400 };
export const browserZone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

const isInstant = (value: unknown): value is string => typeof value === "string" && !Number.isNaN(Date.parse(value));
const isZone = (value: unknown): value is string => {
  try {
    return typeof value === "string" && Boolean(Intl.DateTimeFormat("en", { timeZone: value }));
  } catch {
    return false;
  }
};

/** Read the view from the address; what makes no sense is left out. */
export function readView(search: Record<string, unknown>): View {
  return {
    range: typeof search.range === "string" && search.range in RANGES ? search.range : undefined,
    from: isInstant(search.from) && isInstant(search.to) && search.from < search.to ? search.from : undefined,
    to: isInstant(search.from) && isInstant(search.to) && search.from < search.to ? search.to : undefined,
    zone: isZone(search.zone) ? search.zone : undefined,
    errors: search.errors === true || undefined,
    provider: typeof search.provider === "string" ? search.provider : undefined,
    organization: typeof search.organization === "string" ? search.organization : undefined,
  };
}

export interface Span { from: number; to: number; isLive: boolean; interval: string; step: number }

/** The instants a view covers. A live one ends at the minute that has begun, so that requests can be cached. */
export function spanOf(view: View, now: number): Span {
  let from: number, to: number;
  const isLive = !view.from;
  if (view.from && view.to) [from, to] = [Date.parse(view.from), Date.parse(view.to)];
  else {
    to = Math.floor(now / 60_000) * 60_000 + 60_000;
    from = to - (RANGES[view.range ?? "24h"] ?? 86_400) * 1000;
  }
  const seconds = (to - from) / 1000;
  const [interval, step] = seconds <= 2 * 3600 ? ["1m", 60] : seconds <= 12 * 3600 ? ["5m", 300] : seconds <= 36 * 3600 ? ["15m", 900] : seconds <= 14 * 86_400 ? ["1h", 3600] : ["1d", 86_400];
  return { from, to, isLive, interval: interval as string, step: step as number };
}

export const rfc = (at: number): string => new Date(at).toISOString();
