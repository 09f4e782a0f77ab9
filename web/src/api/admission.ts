// What /api/admission answers with.
export type Scope = "cluster" | "organization" | "application" | "user" | "key" | "provider" | "model" | "endpoint" | "tag";
export type Dimension = "requests" | "operations" | "bytes" | "tokens" | "concurrency" | "money";
export type Method = "token_bucket" | "leaky_bucket" | "fixed_window" | "concurrency";

/** One limit as people write it: amounts are decimal text; what is left out is as usual. */
export interface LimitSpec {
  name: string; dimension: Dimension; method?: Method; rate?: string; per?: string; burst?: string; burst_seconds?: number; capacity?: string; amount?: string; period?: string; zone?: string;
  reserve?: string; shadow?: boolean; failure?: string; currency?: string;
}
export interface QuotaVersion {
  version: number; valid_from: string | null; valid_to: string | null; is_in_force: boolean; is_withdrawn: boolean; limits: LimitSpec[]; reason: string; author: string; rolled_back_to: number | null; created_at: string;
}
export interface Quota { id: string; name: string; scope: Scope; subject: string | null; created_at: string; current: QuotaVersion | null; scheduled: { version: number; valid_from: string } | null; provider: string | null }
export interface LimitChange { limit: string; change: "added" | "removed" | "changed"; before: Partial<LimitSpec>; after: Partial<LimitSpec> }
export interface QuotaPreview { against_version: number | null; changes: LimitChange[] }
export interface QuotaDifference { from_version: number; to_version: number; changes: LimitChange[] }

export interface Cluster { id: string; name: string; region: string; endpoint: string | null; max_capacity: number; health_status: string; health_check_url: string | null; created_at: string; updated_at: string }
/** An organization that shares a capacity; rates and amounts are decimal text, null while nothing is known. */
export interface CapacityShare { organization_id: string; slug: string; organization: string; guaranteed: string; most: string | null; weight: number; rate: string | null; burst: string | null; state: "granted" | "shrinking" | null; demand: string | null; refused_calls: number; changed_at: string | null }
export interface SharedCapacity { id: string; name: string; dimension: Dimension; scope: Scope; subject: string | null; rate: string; per: "second" | "minute" | "hour"; burst: string; failure: "closed" | "local"; guaranteed: string; granted: string; is_lowered: boolean; members: CapacityShare[] }
export interface Application { id: string; cluster_id: string | null; name: string; metadata: Record<string, string>; is_active: boolean; created_at: string; updated_at: string }
export interface OperationType { id: string; is_shared: boolean; name: string; category: string; c_base: string; unit_quantum: number; c_bw: string; whole_quanta: boolean; description: string; is_active: boolean }
export interface CostRule { id: string; application_id: string; operation: string; c_base: string | null; c_bw: string | null; valid_from: string | null; valid_to: string | null }
export interface OperationCharge { operations: string; micro_operations: number; bytes: number; c_base: string; unit_quantum: number; c_bw: string; whole_quanta: boolean }

/** How a bucket stands now. Amounts are units: micro-operations, nano-money (or `scale` of them), else plain counts. */
export interface BucketStatus {
  bucket: string; limit: string; scope: Scope; subject: string; dimension: Dimension; method: Method; capacity: number; available: number; held: number; shadow_refusals: number; scale: number; fill: number; status: "healthy" | "warning" | "critical"; share: { per_second: number; guaranteed_per_second: number } | null;
}
export interface Refusal { bucket: string; limit_id: string; limit: string; scope: Scope; subject: string; dimension: Dimension; kind: "refused" | "impossible" | "unavailable" | "shadow"; key_id: string | null; application: string; calls: number; retry_after_ms: number | null; last_at: string }
export interface ActiveLimit { id: string; name: string; scope: Scope; subject: string; dimension: Dimension; method: Method; capacity: number; scale: number; rate_per_second: number | null; period: string | null }
/** What was taken from a bucket in a period, in its units. */
export interface TokenUsage { begins: string; bucket: string; consumed: number; refunded: number; lowest: number }
/** What one limit did to a held call; null where nobody knows, or not yet. */
export interface HoldLimit { bucket: string; limit: string; scope: Scope | ""; subject: string; dimension: Dimension | ""; scale: number; had: number | null; charged: number; left: number | null; settled: number | null; came_back: number | null; was_over: boolean }
export interface Hold { hold_id: string; state: "open" | "settled" | "released" | "expired"; began_at: string; ended_at: string | null; expires_at: string | null; limits: HoldLimit[] }
/** What a provider's account, or a model, may be asked a minute; null: no such limit is in force. */
export interface ProviderLimit { scope: "provider" | "model"; subject: string; requests_per_minute: number | null; tokens_per_minute: number | null; quota_id: string; quota: string; version: number | null; author: string; reason: string; valid_from: string | null; provider: string }
export interface TokenTransaction { at: string; sequence: number; leg: number; kind: string; reference: string; bucket: string; occurred_at: string; opened: boolean; refilled: number; adjusted: number; changed: number; level: number; held: number; leased: number }
