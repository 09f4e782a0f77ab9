import type { Call } from "../../api/types";

/** What one limit did to a call, in its own amounts: `unit` of them make one of what people count in. */
export interface LimitMark { bucket: string; limit: string; scope: string; dimension: string; unit: number; charged: number; settled: number; left: number | null; wouldRefuse: boolean }

/** What was decided of a call that went through the gateway, limit by limit; null where none was asked. */
export function limitsOf(call: Call): { marks: LimitMark[]; isWithoutRedis: boolean } | null {
  const gateway = (call.metadata as { gateway?: { limits?: unknown; limits_without_redis?: unknown } } | null)?.gateway;
  if (!gateway || !Array.isArray(gateway.limits)) return null;
  const marks = (gateway.limits as unknown[]).flatMap((given): LimitMark[] => {
    if (!Array.isArray(given)) return [];
    const [bucket, limit, scope, dimension, unit, charged, settled, left, wouldRefuse] = given as unknown[];
    if (![bucket, limit, scope, dimension].every((item) => typeof item === "string") || ![unit, charged, settled].every((item) => typeof item === "number")) return [];
    return [{ bucket, limit, scope, dimension, unit, charged, settled, left: typeof left === "number" ? left : null, wouldRefuse: wouldRefuse === true } as LimitMark];
  });
  return marks.length ? { marks, isWithoutRedis: gateway.limits_without_redis === true } : null;
}

/** An amount as people count, with no more digits than tell something. */
export function amountOf(units: number, unit: number): string {
  const value = units / unit;
  const shown = Number.isInteger(value) ? String(value) : Number(value.toPrecision(6)).toString();
  const [whole = "", fraction] = shown.split(".");
  return `${whole.replace("-", "−").replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f")}${fraction ? `.${fraction}` : ""}`;
}
