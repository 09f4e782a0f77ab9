// How fast storage is used, and how much of that a limit allows.
import { compact, size } from "../../app/format";
import type { Limits } from "./queries";

const DASH = "–";
const SPACE = "\u202f";

/** Operations a second, small ones with their decimals. */
export function iops(value: number | null | undefined): string {
  if (value == null) return DASH;
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  return value < 100 ? Number(value.toPrecision(3)).toString() : compact(value);
}

/** Bytes a second. */
export function throughput(value: number | null | undefined): string {
  if (value == null) return DASH;
  return value > 0 && value < 1 ? `<1${SPACE}B/s` : `${size(value)}/s`;
}

export interface Allowance { perSecond: number; admitted: number | null; isOwn: boolean }

/** The tightest limit an application has in a dimension, its own or the one that each application has, and what it was admitted. */
export function allowanceOf(known: Limits | undefined, application: string | null | undefined, dimension: "operations" | "bytes"): Allowance | null {
  if (!known || !application) return null;
  const rates = known.limits.filter((limit) => limit.dimension === dimension && !limit.is_shadow && limit.per_second !== null && (limit.application === null || limit.application === application));
  if (!rates.length) return null;
  const tightest = rates.reduce((one, other) => ((other.per_second ?? 0) < (one.per_second ?? 0) ? other : one));
  const admitted = known.admitted?.find((item) => item.application === application && item.dimension === dimension);
  return { perSecond: tightest.per_second ?? 0, admitted: known.admitted ? (admitted?.units_per_second ?? 0) : null, isOwn: tightest.application !== null };
}
