import type { Dimension, LimitSpec, Method } from "../../api/admission";

/** A limit while it is typed: every field is text, and what is empty is not sent. */
export interface LimitDraft {
  id: number; name: string; dimension: Dimension; method: Method; rate: string; per: string; burst: string; burst_seconds: string; capacity: string; amount: string; period: string; zone: string; reserve: string; currency: string;
  failure: string; shadow: boolean;
}

/** The ways in which a dimension can be limited. */
export function methodsOf(dimension: Dimension): Method[] {
  if (dimension === "concurrency") return ["concurrency"];
  return dimension === "money" ? ["fixed_window"] : ["token_bucket", "leaky_bucket", "fixed_window"];
}

export const isBucket = (method: Method): boolean => method === "token_bucket" || method === "leaky_bucket";

/** A draft of what is written already, or of a new limit in the currency of the organization. */
export function draftOf(id: number, spec: Partial<LimitSpec>, currency: string): LimitDraft {
  const dimension = spec.dimension ?? "requests";
  return {
    id, dimension, name: spec.name ?? "", method: spec.method ?? methodsOf(dimension)[0] ?? "token_bucket", rate: spec.rate ?? "", per: spec.per ?? "second", burst: spec.burst ?? "", burst_seconds: spec.burst_seconds === undefined ? "" : String(spec.burst_seconds), capacity: spec.capacity ?? "",
    amount: spec.amount ?? "", period: spec.period ?? "month", zone: spec.zone ?? "", reserve: spec.reserve ?? "", currency: spec.currency ?? currency, failure: spec.failure ?? "", shadow: spec.shadow ?? false,
  };
}

/** What is sent of a draft: only what its way of limiting knows, so that a change of mind leaves nothing behind. */
export function specOf(draft: LimitDraft): LimitSpec {
  const bucket = isBucket(draft.method), window = draft.method === "fixed_window";
  const spec: LimitSpec = {
    name: draft.name.trim(), dimension: draft.dimension, method: draft.method === "token_bucket" ? undefined : draft.method,
    rate: bucket ? draft.rate.trim() : undefined, per: bucket && draft.per !== "second" ? draft.per : undefined,
    burst: bucket ? draft.burst.trim() : undefined, burst_seconds: bucket && draft.burst.trim() && draft.burst_seconds.trim() ? Number(draft.burst_seconds) : undefined, capacity: bucket ? draft.capacity.trim() : undefined,
    amount: bucket ? undefined : draft.amount.trim(), period: window ? draft.period : undefined, zone: window ? draft.zone.trim() : undefined,
    reserve: draft.reserve.trim(), currency: draft.dimension === "money" ? draft.currency.trim() : undefined, failure: draft.failure, shadow: draft.shadow || undefined,
  };
  return Object.fromEntries(Object.entries(spec).filter(([name, value]) => name === "name" || (value !== undefined && value !== ""))) as unknown as LimitSpec;
}
