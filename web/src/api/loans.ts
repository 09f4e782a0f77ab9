// What /api/admission/loans and /api/admission/borrowing-rules answer with. Amounts are a bucket's units.
import type { Dimension, Scope } from "./admission";

export type LoanState = "active" | "defaulted" | "repaid" | "cancelled" | "written_off";
export interface Party { bucket: string; limit: string; scope: Scope; subject: string; dimension: Dimension; currency: string; scale: number; capacity: number; available: number; reserve: number }
export interface Loan {
  id: string; rule_id: string | null; borrower: string; lender: string | null; state: LoanState; principal: number; interest: number; repaid: number; interest_paid: number; share: number; reason: string; requested_by: string;
  granted_at: string; due_at: string; defaulted_at: string | null; ended_at: string | null;
}
export interface LoanOffer { rule_id: string; rule: string; principal: number; interest: number; owed: number; interest_rate: string; repay_share: string; seconds: number; due_at: string; repaid_after_seconds: number; will_default: boolean; most: number }
export interface BorrowingRule {
  id: string; name: string; application_id: string | null; application: string | null; lends_from: "own_future" | "application" | "any"; lender_application_id: string | null; lender_application: string | null; max_ratio: string; interest_rate: string;
  max_seconds: number; repay_share: string; most_loans: number; is_active: boolean; created_at: string;
}
