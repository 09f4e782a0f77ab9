// The answers of the HTTP API that the pages read; described in full at /openapi.json.
export interface Organization { id: string; name: string; slug: string; role: string; currency: string; reporting_zone: string }
export interface User { id: string; email: string; name: string; timezone: string; locale: string }
export interface Account { user: User | null; organizations: Organization[]; organization: Organization | null; permissions: string[] }

export interface Metrics {
  requests: number; errors: number; error_rate: number | null; cost: string | null; cost_other?: Record<string, string>;
  unpriced: number; tokens_input: number; tokens_output: number; bytes_request: number; bytes_response: number;
  latency_avg_ms: number | null; latency_p50_ms: number | null; latency_p95_ms: number | null; latency_p99_ms: number | null;
  distinct_endpoints?: number; distinct_users?: number;
}
export type Group = Metrics & { provider?: string; model?: string };
export interface Summary { from: string; to: string; as_of: string; currency: string; latency_error_bound: number; groups: Group[]; total: Metrics }
export type Point = Group & { at: string };
export interface Series { from: string; to: string; interval: string; as_of: string; currency: string; points: Point[] }

export interface Call {
  id: string; timestamp: string; provider: string; endpoint: string; method: string; model: string; status_code: number;
  response_time_ms: number | null; cost: string | null; currency: string; unpriced_reason: string | null; [field: string]: unknown;
}
export interface Page<T> { items: T[]; next_cursor: string | null }
export interface Fault { field: string; message: string }
export interface Problem { type: string; title: string; status: number; detail: string; request_id?: string; errors?: Fault[] }
