import { describe, expect, it } from "vitest";
import { bodyOf, draftOf, sharesOf } from "./drafts";
import { linesOf } from "./spendLines";
import type { Budget, BudgetDetail } from "./types";

const BUDGET: Budget = {
  id: "b", name: "monthly", description: "", scope: "application", subject: "shop", amount: "100", currency: "USD", period: "month", begins_on: null, zone: "UTC", thresholds: [0.5, 1], pauses: true,
  failure: "closed", is_active: true, version: 1, reason: "r", author: "a", created_at: "", updated_at: "",
};

describe("a budget's form", () => {
  it("sends of a new budget what was said", () => {
    const body = bodyOf({ ...draftOf(null, "EUR"), name: "all", amount: " 5 ", reason: "try" }, null);
    expect(body).toEqual({ name: "all", amount: "5", currency: "EUR", scope: "organization", period: "month", thresholds: [0.5, 0.75, 0.9, 1], pauses: false, failure: "closed", reason: "try" });
  });
  it("sends of a change only what differs, and takes away what was emptied", () => {
    const draft = draftOf(BUDGET, "EUR");
    expect(bodyOf({ ...draft, reason: "x" }, BUDGET)).toEqual({ reason: "x" });
    expect(bodyOf({ ...draft, amount: "200", subject: "", beginsOn: "2026-01-15", reason: "x" }, BUDGET)).toEqual({ amount: "200", subject: null, begins_on: "2026-01-15", reason: "x" });
  });
  it("reads percentages", () => {
    expect(sharesOf("50, 75;90 100")).toEqual([0.5, 0.75, 0.9, 1]);
    expect(sharesOf("12.5, half")).toEqual([0.125, 0]);
  });
});

describe("the chart of a budget", () => {
  const detail = {
    budget: BUDGET, step: "day", period_starts_at: "2026-11-01T00:00:00Z", period_ends_at: "2026-11-05T00:00:00Z", as_of: "2026-11-02T12:00:00Z",
    points: [{ at: "2026-11-01T00:00:00Z", spent: "10", total: "10" }, { at: "2026-11-02T00:00:00Z", spent: "5", total: "15" }],
    forecast: { method: "mean_of_last_whole_days", period_end: "35", rate: "10", steps: 2, reaches_amount_at: null, reason: null },
  } as unknown as BudgetDetail;
  it("goes to the end of the period, from what is spent to the forecast, with the thresholds as marks", () => {
    const { times, lines } = linesOf(detail);
    expect(times).toHaveLength(4);
    expect(lines.map((line) => line.values)).toEqual([[10, 15, null, null], [null, 15, 25, 35], [50, 50, 50, 50], [100, 100, 100, 100]]);
  });
});
