import { expect, it } from "vitest";
import type { Call } from "../../api/types";
import { amountOf, limitsOf } from "./callLimits";

const callWith = (gateway: unknown) => ({ metadata: { gateway } }) as unknown as Call;

it("reads what was decided of a call, and nothing of what a caller made up", () => {
  const mark = ["a:shop", "tokens", "application", "tokens", 1, 900, 712, 59_100, false];
  expect(limitsOf(callWith({ limits: [mark, "no", [1, 2], null], limits_decided_by: "lease", refusal: { outcome: "maybe" } }))).toEqual({ by: "lease", refusal: null, marks: [{ bucket: "a:shop", limit: "tokens", scope: "application", dimension: "tokens", unit: 1, charged: 900, settled: 712, left: 59_100, wouldRefuse: false, asked: null }] });
  expect(limitsOf(callWith({ limits: [] }))).toBeNull();
  expect(limitsOf(callWith({}))).toBeNull();
  expect(limitsOf({ metadata: null } as unknown as Call)).toBeNull();
});

it("reads why a call was refused", () => {
  const mark = ["a:shop", "tokens", "application", "tokens", 1, 0, 0, 12, false, 900];
  const found = limitsOf(callWith({ limits: [mark], limits_decided_by: "somebody", refusal: { outcome: "refused", bucket: "a:shop", retry_after_ms: 1200, unrecorded_before: 7 } }));
  expect(found).toMatchObject({ by: null, refusal: { outcome: "refused", bucket: "a:shop", retryMs: 1200, unrecorded: 7 }, marks: [{ asked: 900, charged: 0, left: 12 }] });
});

it("writes amounts as people count", () => {
  expect(amountOf(3_150_000, 1e9)).toBe("0.00315");
  expect(amountOf(-1_500_000, 1)).toBe("−1\u202f500\u202f000");
  expect(amountOf(1_000_200, 1e6)).toBe("1.0002");
});
