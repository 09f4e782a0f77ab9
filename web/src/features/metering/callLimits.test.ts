import { expect, it } from "vitest";
import type { Call } from "../../api/types";
import { amountOf, limitsOf } from "./callLimits";

const callWith = (gateway: unknown) => ({ metadata: { gateway } }) as unknown as Call;

it("reads what was decided of a call, and nothing of what a caller made up", () => {
  const mark = ["a:shop", "tokens", "application", "tokens", 1, 900, 712, 59_100, false];
  expect(limitsOf(callWith({ limits: [mark, "no", [1, 2], null] }))).toEqual({ isWithoutRedis: false, marks: [{ bucket: "a:shop", limit: "tokens", scope: "application", dimension: "tokens", unit: 1, charged: 900, settled: 712, left: 59_100, wouldRefuse: false }] });
  expect(limitsOf(callWith({ limits: [] }))).toBeNull();
  expect(limitsOf(callWith({}))).toBeNull();
  expect(limitsOf({ metadata: null } as unknown as Call)).toBeNull();
});

it("writes amounts as people count", () => {
  expect(amountOf(3_150_000, 1e9)).toBe("0.00315");
  expect(amountOf(-1_500_000, 1)).toBe("−1\u202f500\u202f000");
  expect(amountOf(1_000_200, 1e6)).toBe("1.0002");
});
