// The answers of /api/costs that the pages read; described in full at /openapi.json.
export type BudgetState = "within" | "warned" | "over" | "paused" | "inactive";
export interface Budget {
  id: string; name: string; description: string; scope: string; subject: string | null; amount: string; currency: string; period: string; begins_on: string | null; zone: string;
  thresholds: number[]; pauses: boolean; failure: string; is_active: boolean; version: number; reason: string; author: string; created_at: string; updated_at: string;
}
export interface Standing {
  subject: string | null; state: BudgetState; spent: string; held: string | null; left: string; over: string; fraction: number; crossed: number[]; requests: number; unpriced: number;
  unconverted: Record<string, string>; paused_since: string | null;
}
export interface BudgetStanding { budget: Budget; period_starts_at: string; period_ends_at: string; as_of: string; standing: Standing; subjects: number }
export interface SpendPoint { at: string; spent: string; total: string }
export interface Forecast { method: string; period_end: string | null; rate: string | null; steps: number; reaches_amount_at: string | null; reason: string | null }
export interface BudgetDetail {
  budget: Budget; period_starts_at: string; period_ends_at: string; as_of: string; standing: Standing; step: "day" | "hour"; points: SpendPoint[]; forecast: Forecast | null; subjects: Standing[];
}
export interface Breakdown { by: string; groups: { value: string | null; cost: string; other: Record<string, string>; requests: number; unpriced: number }[]; reason: string | null }
export interface BudgetEvent { id: string; kind: "threshold" | "paused"; subject: string | null; threshold: number | null; spent: string; amount: string; currency: string; occurred_at: string }
export interface Preview { period_starts_at: string; period_ends_at: string; standing: Standing; changes: { field: string; before: string | null; after: string | null }[]; will_pause: boolean }
