const DASH = "–";

const thousands = (digits: string) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

/** A count, with thin spaces between thousands. */
export const count = (value: number | null | undefined): string => (value == null ? DASH : thousands(Math.round(value).toString()));

/** A large count in three digits: 12.4 M. */
export function compact(value: number): string {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as const)
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}\u202f${unit}`;
  return count(value);
}

/** A fraction as a percentage. */
export function percent(value: number | null | undefined): string {
  if (value == null) return DASH;
  const shown = value * 100;
  return `${shown === 0 ? "0" : shown < 0.01 ? "<0.01" : shown < 10 ? shown.toFixed(2) : shown.toFixed(1)}\u202f%`;
}

/** A duration given in milliseconds. */
export function duration(ms: number | null | undefined): string {
  if (ms == null) return DASH;
  if (ms < 1) return `${ms.toPrecision(2)}\u202fms`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)}\u202fms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)}\u202fs`;
  return `${(ms / 60_000).toFixed(1)}\u202fmin`;
}

/** A number of bytes. */
export const size = (bytes: number | null | undefined): string => (bytes == null ? DASH : `${compact(bytes)}${bytes < 1000 ? "\u202f" : ""}B`);

const SYMBOLS: Record<string, string> = { USD: "$", EUR: "€", GBP: "£", JPY: "¥", CNY: "¥" };

/** Money from its exact decimal text, with enough digits for small amounts and no float in between. */
export function money(amount: string | null | undefined, currency: string): string {
  if (amount == null) return DASH;
  const negative = amount.startsWith("-");
  const [whole = "0", fraction = ""] = amount.replace("-", "").split(".");
  const leading = fraction.search(/[1-9]/);
  const small = whole === "0" && leading >= 0;
  const places = small ? Math.max(2, leading + 2) : 2;
  let digits = BigInt(whole + fraction.padEnd(places, "0").slice(0, places));
  if ((fraction[places] ?? "0") >= "5") digits += 1n;
  const padded = digits.toString().padStart(places + 1, "0");
  const shown = `${thousands(padded.slice(0, -places))}.${padded.slice(-places)}`;
  const symbol = SYMBOLS[currency];
  return (negative ? "−" : "") + (symbol ? symbol + shown : `${shown}\u202f${currency}`);
}

export const tokens = (input: number, output: number): string => `${compact(input)} / ${compact(output)}`;

/** How much a figure differs from the period before: +12 %. */
export function delta(now: number | null, before: number | null): string | null {
  if (now == null || before == null || before === 0) return null;
  const change = (now - before) / before;
  if (Math.abs(change) < 0.0005) return "±0\u202f%";
  // Against next to nothing everything is a great deal: that tells nobody anything.
  if (change >= 100) return null;
  if (change >= 9) return `×${compact(Math.round(now / before))}`;
  return `${change > 0 ? "+" : "−"}${Math.abs(change * 100).toFixed(Math.abs(change) < 0.1 ? 1 : 0)}\u202f%`;
}

export const clock = (at: string | number, zone: string, seconds = true): string =>
  new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) }).format(new Date(at));

export const instant = (at: string | number, zone: string): string =>
  new Intl.DateTimeFormat("en-GB", { timeZone: zone, year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(at));

/** A moment in a list: the time alone where it is today, with its day otherwise, with its year where that is another. */
export function moment(at: string | number, zone: string, now: string | number = Date.now()): string {
  const [day = "", time = ""] = instant(at, zone).split(", ");
  const [today = ""] = instant(now, zone).split(", ");
  if (day === today) return time;
  return `${day.slice(-4) === today.slice(-4) ? day.slice(0, -5) : day}, ${time}`;
}
