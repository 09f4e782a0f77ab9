// The answers of the HTTP API that the pages read; described in full at /openapi.json.
export interface Organization { id: string; name: string; slug: string; role: string; currency: string; reporting_zone: string }
export interface User { id: string; email: string; name: string; timezone: string; locale: string; preferences: Record<string, unknown> }
export interface Account { user: User | null; organizations: Organization[]; organization: Organization | null; permissions: string[] }

export interface Metrics {
  requests: number; errors: number; error_rate: number | null; cost: string | null; cost_other?: Record<string, string>;
  unpriced: number; tokens_input: number; tokens_output: number; bytes_request: number; bytes_response: number;
  latency_avg_ms: number | null; latency_p50_ms: number | null; latency_p95_ms: number | null; latency_p99_ms: number | null;
  distinct_endpoints?: number; distinct_users?: number;
}
export type Group = Metrics & { [dimension: string]: unknown };
export interface Summary { from: string; to: string; as_of: string; currency: string; group_by?: string[]; latency_error_bound: number; groups: Group[]; total: Metrics }
export type Point = Group & { at: string };
export interface Series { from: string; to: string; interval: string; as_of: string; currency: string; group_by?: string[]; points: Point[] }

export interface Call {
  id: string; timestamp: string; provider: string; endpoint: string; method: string; model: string; status_code: number;
  response_time_ms: number | null; cost: string | null; currency: string; unpriced_reason: string | null; price_id: string | null; price_source: string;
  tokens: Record<string, number> | null; units: Record<string, number> | null; error_type: string | null; error_message: string | null; user: string | null; key: string | null;
  /** The limit that refused it: it was never made. */
  refused_by: string | null; [field: string]: unknown;
}
export interface Page<T> { items: T[]; next_cursor: string | null }
export interface Fault { field: string; message: string }
export interface Problem { type: string; title: string; status: number; detail: string; request_id?: string; errors?: Fault[] }

export interface AccessKey {
  id: string; name: string; prefix: string; scopes: string[]; application: string; user_id: string | null; rate_limit_per_minute: number | null;
  expires_at: string | null; revoked_at: string | null; last_used_at: string | null; rotated_from: string | null; created_by: string | null; created_at: string;
}
export interface NewAccessKey { key: string; access_key: AccessKey }
export interface Permission { name: string; description: string }
export interface Role { id: string; name: string; description: string; is_builtin: boolean; permissions: string[] }
export interface GrantedRole { role_id: string; name: string; expires_at: string | null }
export interface Member {
  user_id: string; email: string; name: string; role: string; extra_permissions: string[]; is_active: boolean; has_second_factor: boolean;
  last_login_at: string | null; created_at: string; roles: GrantedRole[];
}
export interface Invitation { id: string; email: string; role: string; expires_at: string; accepted_at: string | null; created_at: string }
export interface Session {
  id: string; created_at: string; expires_at: string; last_accessed_at: string; ip_address: string | null; user_agent: string | null; login_method: string; is_mfa_verified: boolean; is_current: boolean;
}
export interface SecondFactor { is_enrolled: boolean; confirmed_at: string | null; recovery_codes_left: number }
export interface PriceComponent { unit: string; amount: string; per: number; context_above: number }
export interface Price {
  id: string; provider: string; model: string | null; endpoint: string | null; method: string | null; tier: string; region: string; currency: string; variant: Record<string, string>;
  daily_from: string | null; daily_to: string | null; valid_from: string | null; valid_to: string | null; source: string; created_at: string; superseded_at: string | null; is_shared: boolean; components: PriceComponent[];
}
export interface PriceConflict {
  id: string; price_id: string; provider: string; model: string | null; in_force_source: string; source: string; in_force: PriceComponent[]; proposed: PriceComponent[]; resolution: string | null; created_at: string;
}
export interface Import { id: string; source: string; digest: string; imported_at: string; imported_by: string; summary: Record<string, unknown> }
export interface CostLine { unit: string; count: number; amount: string; per: number; cost: string }
export interface CostSum { lines: CostLine[]; cost: string | null; currency: string; reason: string | null }
export interface AuditEntry {
  id: string; occurred_at: string; table_name: string | null; action: string; row_id: string | null; old_row: Record<string, unknown> | null; new_row: Record<string, unknown> | null;
  actor_user_id: string | null; actor_key_id: string | null; actor_label: string; ip_address: string | null; user_agent: string | null; request_id: string | null;
}
export interface OrganizationDetails { id: string; name: string; slug: string; plan: string; tier: string; currency: string; reporting_zone: string; billing_email: string | null; settings: Record<string, unknown> }
export interface ConfigurationValue { key: string; value: boolean | number | string; default: boolean | number | string; is_changed: boolean; description: string }
export interface Provider {
  id: string; slug: string; name: string; description: string; category: string; status: string; base_url: string | null; docs_url: string | null; status_url: string | null; website_url: string | null; source: string; is_shared: boolean;
  /** As published; null where nobody says. */
  requests_per_minute: number | null; tokens_per_minute: number | null;
}
export interface Endpoint { id: string; provider: string; method: string; path_template: string; name: string; is_deprecated: boolean }
export interface ProviderCredential {
  id: string; provider: string; name: string; description: string; prefix: string; secret_hash: string; auth_form: string; base_url: string | null; weight: number; is_active: boolean; expires_at: string | null; created_at: string;
}
export interface EndpointHealth {
  credential_id: string | null; base_url: string | null; state: "well" | "half_open" | "open"; open_until: string | null; processes: number; refusing_processes: number; failures_in_a_row: number;
  recent_calls: number; recent_failures: number; last_success_at: string | null; last_failure_at: string | null; last_failure: string; at: string;
}
export interface LearnedLimit { kind: string; limit?: number | null; remaining?: number | null; resets_in_seconds?: number | null }
export interface LearnedLimits { at: string | null; status_code: number | null; limits: LearnedLimit[]; retry_after_seconds: number | null }
export interface ModelRoute { id: string; alias: string; provider: string; model: string; priority: number; weight: number; created_at: string }
export interface Model { id: string; provider: string; slug: string }
export interface ImportSummary {
  source: string; digest: string; providers_added: number; models_added: number; providers_changed: number; models_changed: number; prices_added: number; prices_changed: number; prices_unchanged: number; conflicts: number; new_conflicts: number; skipped: string[]; is_dry_run: boolean;
}

export interface BodySettingsInForce {
  is_on: boolean; share: number; max_body_bytes: number; keep_days: number; only_failed: boolean; providers: string[] | null; masks: string[]; fields: string[]; words: string[];
  on_since: string | null; changed_at: string | null; purged_at: string | null;
}
export interface KeptBody { state: string; media_type: string; size_bytes: number; is_cut: boolean; masked: Record<string, number>; text: string | null }
export interface CallBodies { call_id: string; why: string; until: string | null; request: KeptBody | null; response: KeptBody | null }
export interface AdmissionStanding { is_degraded: boolean; closed: number; open: number; local: number }
