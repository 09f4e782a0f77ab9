import type { LimitSpec } from "../../api/admission";
import { money } from "../../app/format";
import { quotaText as words } from "./quotaText";

const grouped = (amount: string): string => {
  const [whole = "", fraction] = amount.split(".");
  return whole.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f") + (fraction ? `.${fraction}` : "");
};
const BYTES: [bigint, string][] = [[10n ** 12n, "TB"], [10n ** 9n, "GB"], [10n ** 6n, "MB"], [10n ** 3n, "kB"]];

/** An amount of a dimension: 100 operations, 5 MB, $250.00. Exact: what is not round is written out. */
export function amountOf(amount: string, spec: Pick<LimitSpec, "dimension" | "currency">): string {
  if (spec.dimension === "money") return money(amount, spec.currency ?? "");
  if (spec.dimension === "bytes" && /^\d+$/.test(amount)) {
    const bytes = BigInt(amount);
    const found = BYTES.find(([size]) => bytes >= size && (bytes * 100n) % size === 0n);
    if (found) return `${Number((bytes * 100n) / found[0]) / 100}\u202f${found[1]}`;
  }
  return `${grouped(amount)} ${words.counted[spec.dimension]}`;
}

/** A limit as one says it: 100 operations a second, bursts of 150 for 60 s. */
export function inWords(spec: LimitSpec): string {
  const method = spec.method ?? "token_bucket";
  const parts: string[] = [];
  if (method === "concurrency") parts.push(amountOf(spec.amount ?? "0", spec));
  else if (method === "fixed_window") {
    parts.push(`${amountOf(spec.amount ?? "0", spec)} ${words.periodOne[spec.period ?? ""] ?? ""}`);
    if (spec.zone && spec.zone !== "UTC") parts.push(words.inZone(spec.zone));
  } else {
    parts.push(`${amountOf(spec.rate ?? "0", spec)} ${words.perOne[spec.per ?? "second"] ?? ""}`);
    if (spec.burst) parts.push(words.bursts(grouped(spec.burst), spec.burst_seconds ?? 60));
    if (spec.capacity) parts.push(words.holds(grouped(spec.capacity)));
    if (method === "leaky_bucket") parts.push(words.spaced);
  }
  if (spec.reserve && spec.reserve !== "0") parts.push(words.keeps(grouped(spec.reserve)));
  return parts.join(", ");
}
