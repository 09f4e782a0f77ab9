import { expect, test } from "vitest";
import type { Call } from "../../api/types";
import { partsOf, pauseBetween, stretchesOf } from "./timing";

const call = (at: number, total: number | null, first: number | null, queue?: number, attempt = 1) =>
  ({ timestamp: new Date(1_700_000_000_000 + at).toISOString(), response_time_ms: total, time_to_first_byte_ms: first, metadata: queue === undefined ? null : { gateway: { queue_ms: queue, attempt } } }) as unknown as Call;

test("the parts of a call add up to its time", () => {
  expect(partsOf(call(0, 100, 30, 5))).toEqual({ queue: 5, firstByte: 30, rest: 70, total: 100 });
  expect(partsOf(call(0, 100, null))).toEqual({ queue: null, firstByte: null, rest: null, total: 100 });
  expect(partsOf(call(0, 100, 130)).rest).toBe(0);
  expect(partsOf(call(0, null, null, 3)).total).toBeNull();
});

test("attempts lie on one bar, the pause between them left free", () => {
  const [one, two] = stretchesOf([call(10, 40, null, 10), call(100, 50, 25, 100, 2)]);
  expect(one).toEqual([{ kind: "queue", from: 0, length: 10 / 150 }, { kind: "whole", from: 10 / 150, length: 40 / 150 }]);
  expect(two?.map((item) => item.from)).toEqual([100 / 150, 125 / 150]);
  expect(two?.reduce((end, item) => Math.max(end, item.from + item.length), 0)).toBeCloseTo(1);
  expect(stretchesOf([call(0, null, null)])).toEqual([[]]);
});

test("a pause is what lies between an end and a beginning", () => {
  expect(pauseBetween(call(0, 40, null), call(100, 5, 1))).toBe(60);
  expect(pauseBetween(call(0, 400, null), call(100, 5, 1))).toBe(0);
});
