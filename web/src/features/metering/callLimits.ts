import type { Call } from "../../api/types";

/** What one limit did to a call, in its own amounts: `unit` of them make one of what people count in. `asked` where the call was refused. */
export interface LimitMark { bucket: string; limit: string; scope: string; dimension: string; unit: number; charged: number; settled: number; left: number | null; wouldRefuse: boolean; asked: number | null }
export type Decider = "redis" | "lease" | "fallback";
/** Why a call was refused; `unrecorded` is how many before it were refused and have no record. */
export interface Refusal { outcome: "refused" | "impossible" | "unavailable"; bucket: string | null; retryMs: number | null; unrecorded: number }
export interface Decided { marks: LimitMark[]; by: Decider | null; refusal: Refusal | null }

const DECIDERS: unknown[] = ["redis", "lease", "fallback"];

/** What was decided of a call that went through the gateway, limit by limit; null where none was asked. */
export function limitsOf(call: Call): Decided | null {
  const gateway = (call.metadata as { gateway?: { limits?: unknown; limits_decided_by?: unknown; refusal?: unknown } } | null)?.gateway;
  if (!gateway || !Array.isArray(gateway.limits)) return null;
  const marks = (gateway.limits as unknown[]).flatMap((given): LimitMark[] => {
    if (!Array.isArray(given)) return [];
    const [bucket, limit, scope, dimension, unit, charged, settled, left, wouldRefuse, asked] = given as unknown[];
    if (![bucket, limit, scope, dimension].every((item) => typeof item === "string") || ![unit, charged, settled].every((item) => typeof item === "number")) return [];
    return [{ bucket, limit, scope, dimension, unit, charged, settled, left: typeof left === "number" ? left : null, wouldRefuse: wouldRefuse === true, asked: typeof asked === "number" ? asked : null } as LimitMark];
  });
  const by = DECIDERS.includes(gateway.limits_decided_by) ? (gateway.limits_decided_by as Decider) : null;
  return marks.length ? { marks, by, refusal: refusalOf(gateway.refusal) } : null;
}

function refusalOf(given: unknown): Refusal | null {
  if (given === null || typeof given !== "object") return null;
  const { outcome, bucket, retry_after_ms: retry, unrecorded_before: unrecorded } = given as Record<string, unknown>;
  if (outcome !== "refused" && outcome !== "impossible" && outcome !== "unavailable") return null;
  return { outcome, bucket: typeof bucket === "string" ? bucket : null, retryMs: typeof retry === "number" ? retry : null, unrecorded: typeof unrecorded === "number" ? unrecorded : 0 };
}

/** An amount as people count, with no more digits than tell something. */
export function amountOf(units: number, unit: number): string {
  const value = units / unit;
  const shown = Number.isInteger(value) ? String(value) : Number(value.toPrecision(6)).toString();
  const [whole = "", fraction] = shown.split(".");
  return `${whole.replace("-", "−").replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f")}${fraction ? `.${fraction}` : ""}`;
}
