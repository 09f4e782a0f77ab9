// Issues as the API answers with them.
export type Status = "open" | "regressed" | "resolved" | "ignored";
export interface Person { id: string; name: string; email: string }
export interface Issue {
  id: string; title: string; error_type: string; culprit: string; status: Status; level: string; category: string; severity: number; impact_level: string; service: string; environment: string; service_version: string;
  occurrences: number; first_seen: string; last_seen: string; assignee: Person | null; status_changed_at: string | null; resolved_at: string | null; resolved_by: string; resolution_notes: string; regressions: number; merged_into: string | null;
  /** Errors in each of the last 24 hours, this one last. */
  trend: number[];
}
export interface Cause { fingerprint: string; rule: "explicit" | "stack" | "message"; normalised: string; title: string; error_type: string; culprit: string; occurrences: number; first_seen: string; last_seen: string }
export interface FacetValue { value: string; occurrences: number; first_seen: string; last_seen: string }
export interface IssueEvent { id: string; at: string; kind: string; actor: string; detail: Record<string, unknown> }
export interface IssueDetail { issue: Issue; causes: Cause[]; facets: Record<string, FacetValue[]>; met: number; met_more: boolean; events: IssueEvent[] }
export interface Sample {
  id: string; timestamp: string; fingerprint: string; level: string; error_type: string | null; error_code: string | null; message: string; stack_trace: string | null; context: unknown; tool_context: unknown; tags: unknown; metadata: unknown;
  [name: string]: unknown;
}
export interface Point { at: string; errors: number }
