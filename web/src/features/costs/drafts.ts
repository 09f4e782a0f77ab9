// What is typed of a budget, and what of it is sent. Pure.
import type { Budget } from "./types";

export interface Draft {
  name: string; amount: string; currency: string; scope: string; subject: string; period: string; beginsOn: string; zone: string; thresholds: string; pauses: boolean; failure: string; isActive: boolean; description: string; reason: string;
}

/** What a form begins with: the budget as it is, or the usual one. */
export function draftOf(budget: Budget | null, currency: string): Draft {
  return {
    name: budget?.name ?? "", amount: budget?.amount ?? "", currency: budget?.currency ?? currency, scope: budget?.scope ?? "organization", subject: budget?.subject ?? "", period: budget?.period ?? "month",
    beginsOn: budget?.begins_on ?? "", zone: budget?.zone ?? "", thresholds: (budget?.thresholds ?? [0.5, 0.75, 0.9, 1]).map((share) => Number((share * 100).toFixed(2))).join(", "), pauses: budget?.pauses ?? false, failure: budget?.failure ?? "closed",
    isActive: budget?.is_active ?? true, description: budget?.description ?? "", reason: "",
  };
}

/** Percentages as they are typed, as fractions; what is no number is sent as 0, which the server refuses in its own words. */
export function sharesOf(typed: string): number[] {
  return typed.split(/[,;\s]+/).filter(Boolean).map((part) => (Number.isFinite(Number(part)) ? Number((Number(part) / 100).toFixed(4)) : 0));
}

/** The body to send: of a change only what differs; what is left empty of a new budget takes the usual value. */
export function bodyOf(draft: Draft, budget: Budget | null): Record<string, unknown> {
  const whole: Record<string, unknown> = {
    name: draft.name.trim(), amount: draft.amount.trim(), currency: draft.currency.trim(), scope: draft.scope, subject: draft.subject.trim() || null, period: draft.period, begins_on: draft.beginsOn || null, zone: draft.zone.trim(),
    thresholds: sharesOf(draft.thresholds), pauses: draft.pauses, failure: draft.failure, description: draft.description, is_active: draft.isActive,
  };
  const old: Record<string, unknown> = budget ? { ...budget } : {};
  const isKept = (name: string, value: unknown) => (budget ? JSON.stringify(value) === JSON.stringify(old[name] ?? null) : value === "" || value === null || name === "is_active");
  const kept = Object.entries(whole).filter(([name, value]) => !isKept(name, value) || (!budget && (name === "name" || name === "amount")));
  return { ...Object.fromEntries(kept), reason: draft.reason };
}
