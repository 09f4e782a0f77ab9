// The state of a view lives in the address: ?range=24h, or ?from=…&to=…, &zone=…, &by=model, and a filter for each dimension.
export type View = Record<string, string | undefined>;

export const RANGES: Record<string, number> = { "15m": 900, "1h": 3600, "6h": 6 * 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400, "90d": 90 * 86_400 };
export const DIMENSIONS = ["provider", "model", "endpoint", "method", "region", "status_code", "key", "application", "user", "currency"];
export const INTERVALS = ["1h", "1d", "1w", "1mo"];
export const browserZone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** The address is read by people: plain names and values, no JSON. */
export const readSearch = (search: string): Record<string, string> => Object.fromEntries(new URLSearchParams(search));
export const writeSearch = (search: Record<string, unknown>): string => {
  const pairs = Object.entries(search).filter((pair): pair is [string, string] => typeof pair[1] === "string" && pair[1] !== "");
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
};

const isInstant = (value: string | undefined): value is string => value !== undefined && !Number.isNaN(Date.parse(value));
const isZone = (value: string): boolean => {
  try {
    return Boolean(Intl.DateTimeFormat("en", { timeZone: value }));
  } catch {
    return false;
  }
};
export const isDimension = (name: string): boolean => DIMENSIONS.includes(name) || /^tag:.{1,64}$/.test(name);

/** Read the view from the address; what makes no sense is left out. */
export function readView(search: Record<string, unknown>): View {
  const given: View = {};
  for (const [name, value] of Object.entries(search)) if (["string", "number", "boolean"].includes(typeof value)) given[name] = String(value);
  const view: View = {};
  for (const [name, value] of Object.entries(given)) if (isDimension(name)) view[name] = value;
  // Labels of metrics, which a metric is filtered by.
  for (const [name, value] of Object.entries(given)) if (/^label\..{1,128}$/.test(name)) view[name] = value;
  if (given.range && given.range in RANGES) view.range = given.range;
  if (isInstant(given.at)) view.at = given.at;
  if (isInstant(given.from) && isInstant(given.to) && Date.parse(given.from) < Date.parse(given.to)) [view.from, view.to] = [given.from, given.to];
  if (given.zone && isZone(given.zone)) view.zone = given.zone;
  if (given.by && isDimension(given.by)) view.by = given.by;
  if (given.sort && /^-?(timestamp|response_time_ms|cost|tokens)$/.test(given.sort)) view.sort = given.sort;
  if (given.interval && INTERVALS.includes(given.interval)) view.interval = given.interval;
  for (const name of ["errors", "unpriced", "refused"]) if (given[name] === "true") view[name] = "true";
  for (const name of ["organization", "q", "table_name", "action", "tab", "columns", "who", "first", "second", "server", "tool", "order", "hold", "status", "level", "environment", "service", "category", "assignee", "metric", "kind", "unit", "group", "period", "show", "instance"]) if (given[name]) view[name] = given[name];
  return view;
}

/** What a view carries from page to page: where, when and whose, but no filter. */
export const frameOf = ({ range, from, to, zone, organization }: View): View => ({ range, from, to, zone, organization });

/** The filters of a view, by dimension. */
export const filtersOf = (view: View): Record<string, string> =>
  Object.fromEntries(Object.entries(view).filter((pair): pair is [string, string] => isDimension(pair[0]) && pair[1] !== undefined));

/** `last` names the range where it ends now; then everybody asks the same question, and the answer is shared. */
export interface Span { from: number; to: number; isLive: boolean; last?: string; interval: string; step: number }

/** The period of equal length before. */
export const before = (span: Span): Span => ({ ...span, from: span.from - (span.to - span.from), to: span.from, last: undefined });
const STEPS: [number, string, number][] = [[2 * 3600, "1m", 60], [12 * 3600, "5m", 300], [36 * 3600, "15m", 900], [14 * 86_400, "1h", 3600], [400 * 86_400, "1d", 86_400], [1600 * 86_400, "1w", 7 * 86_400]];

/** The instants a view covers. A live one ends at the minute that has begun, so that requests can be cached. */
export function spanOf(view: View, now: number): Span {
  let from: number, to: number, last: string | undefined;
  if (view.from && view.to) [from, to] = [Date.parse(view.from), Date.parse(view.to)];
  else {
    last = view.range ?? "24h";
    to = Math.floor(now / 60_000) * 60_000 + 60_000;
    from = to - (RANGES[last] ?? 86_400) * 1000;
  }
  const seconds = (to - from) / 1000;
  const [, interval, step] = STEPS.find(([limit]) => seconds <= limit) ?? [0, "1mo", 30 * 86_400];
  return { from, to, isLive: !view.from, last, interval, step };
}

export const rfc = (at: number): string => new Date(at).toISOString();

const parts = (at: number, zone: string): number => {
  const found = Object.fromEntries(
    new Intl.DateTimeFormat("en", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" })
      .formatToParts(at).map((part) => [part.type, Number(part.value)]),
  ) as Record<string, number>;
  return Date.UTC(found.year ?? 0, (found.month ?? 1) - 1, found.day, found.hour, found.minute, found.second);
};

/** The wall clock of a zone as a form field writes it: 2026-01-31T12:00. */
export const wallOf = (at: number, zone: string): string => new Date(parts(at, zone)).toISOString().slice(0, 16);

const DAY_MS = 86_400_000;

/** Where the days, weeks (from Monday) or months of a zone begin that a range touches. */
export function calendarOf(from: number, to: number, zone: string, interval: string): number[] {
  const day = new Date(Math.floor(parts(from, zone) / DAY_MS) * DAY_MS);
  if (interval === "1w") day.setUTCDate(day.getUTCDate() - ((day.getUTCDay() + 6) % 7));
  if (interval === "1mo") day.setUTCDate(1);
  const found: number[] = [];
  for (;;) {
    const at = instantOf(day.toISOString().slice(0, 16), zone);
    if (at >= to) return found;
    found.push(at);
    if (interval === "1mo") day.setUTCMonth(day.getUTCMonth() + 1);
    else day.setUTCDate(day.getUTCDate() + (interval === "1w" ? 7 : 1));
  }
}

/** The instant at which a zone's wall clock shows this; in the hour that is repeated, the first. NaN for no such text. */
export function instantOf(wall: string, zone: string): number {
  const wanted = Date.parse(`${wall}Z`);
  if (Number.isNaN(wanted)) return NaN;
  let at = wanted - (parts(wanted, zone) - wanted);
  at -= parts(at, zone) - wanted;
  const earlier = at - 3_600_000;
  return parts(earlier, zone) === wanted ? earlier : at;
}
