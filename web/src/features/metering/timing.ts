// What the gateway noted of a call, and how the attempts of one request lie in time. Pure.
import type { Call } from "../../api/types";

/** What the gateway noted beside a call; nothing for calls that were reported by others. */
export interface Gateway {
  attempt?: number; usage?: "exact" | "estimated"; streamed: boolean; client_left: boolean; credential?: string;
  /** Milliseconds from when the request came until this attempt began; of a later attempt, those before it are in it. */
  queue_ms?: number;
}

/** What the gateway noted; metadata may be anybody's, so that only what has its right form counts. */
export function gatewayOf(call: Call): Gateway | null {
  const found = (call.metadata as { gateway?: unknown } | null)?.gateway;
  if (found === null || typeof found !== "object") return null;
  const given = found as Record<string, unknown>;
  const text = (name: string) => (typeof given[name] === "string" ? given[name] : undefined);
  const number = (name: string) => (typeof given[name] === "number" && given[name] >= 0 ? given[name] : undefined);
  const usage = given.usage === "exact" || given.usage === "estimated" ? given.usage : undefined;
  return { attempt: number("attempt"), usage, streamed: given.streamed === true, client_left: given.client_left === true, credential: text("credential"), queue_ms: number("queue_ms") };
}

/** Whether attempts of the same request came before it. */
export const isLater = (call: Call): boolean => (gatewayOf(call)?.attempt ?? 1) > 1;

/** The parts of one call's time in milliseconds; a part that nobody measured is null. */
export interface Parts { queue: number | null; firstByte: number | null; rest: number | null; total: number | null }

/** Split a call's time: until it was sent, until the first byte came, until the last one. */
export function partsOf(call: Call): Parts {
  const queue = gatewayOf(call)?.queue_ms ?? null;
  const total = call.response_time_ms;
  const first = call.time_to_first_byte_ms as number | null;
  if (total === null) return { queue, firstByte: null, rest: null, total };
  const firstByte = first === null ? null : Math.min(first, total);
  return { queue, firstByte, rest: firstByte === null ? null : total - firstByte, total };
}

/** A stretch of a bar, as fractions of the whole. */
export interface Stretch { kind: "queue" | "firstByte" | "rest" | "whole"; from: number; length: number }

/** Where the parts of each call lie on one bar that reaches from the first beginning to the last end. */
export function stretchesOf(calls: Call[]): Stretch[][] {
  // What lies before a later attempt are the ones before it and the pause, which the bar shows as they are.
  const timed = calls.map((call) => ({ at: Date.parse(call.timestamp), parts: { ...partsOf(call), ...(isLater(call) ? { queue: null } : {}) } }));
  const begin = Math.min(...timed.map(({ at, parts }) => at - (parts.queue ?? 0)));
  const span = Math.max(...timed.map(({ at, parts }) => at + (parts.total ?? 0))) - begin;
  if (!(span > 0)) return calls.map(() => []);
  return timed.map(({ at, parts }) => {
    const found: Stretch[] = [];
    let from = at - (parts.queue ?? 0);
    const add = (kind: Stretch["kind"], length: number | null) => {
      if (!length) return;
      found.push({ kind, from: (from - begin) / span, length: length / span });
      from += length;
    };
    add("queue", parts.queue);
    if (parts.firstByte === null) add("whole", parts.total);
    else {
      add("firstByte", parts.firstByte);
      add("rest", parts.rest);
    }
    return found;
  });
}

/** Milliseconds between the end of one attempt and the beginning of the next; clocks that disagree make no time negative. */
export const pauseBetween = (one: Call, next: Call): number => Math.max(0, Date.parse(next.timestamp) - Date.parse(one.timestamp) - (one.response_time_ms ?? 0));
