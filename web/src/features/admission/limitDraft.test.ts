import { describe, expect, it } from "vitest";
import { draftOf, specOf } from "./limitDraft";

describe("a limit while it is typed", () => {
  it("is sent as it was written when nothing is changed", () => {
    for (const spec of [
      { name: "iops", dimension: "operations", rate: "100", burst: "150", burst_seconds: 60, reserve: "20" },
      { name: "spend", dimension: "money", method: "fixed_window", amount: "250", currency: "USD", period: "month", zone: "Europe/Zurich", shadow: true },
      { name: "flight", dimension: "concurrency", method: "concurrency", amount: "8", failure: "open" },
    ] as const) expect(specOf(draftOf(1, spec, "EUR"))).toEqual(spec);
  });
  it("leaves nothing behind of a way of limiting that was given up", () => {
    const draft = { ...draftOf(1, { name: "a", dimension: "tokens", rate: "5", per: "minute", burst: "9" }, "USD"), method: "fixed_window" as const, amount: "10", period: "day" };
    expect(specOf(draft)).toEqual({ name: "a", dimension: "tokens", method: "fixed_window", amount: "10", period: "day" });
  });
});
