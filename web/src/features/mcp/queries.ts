import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { Page } from "../../api/types";
import { rfc, type Span } from "../../app/range";

export interface Figures {
  calls: number; ok: number; tool_errors: number; protocol_errors: number; failure_rate: number;
  duration_avg_ms: number | null; duration_p50_ms: number | null; duration_p95_ms: number | null; duration_p99_ms: number | null; duration_min_ms: number | null; duration_max_ms: number | null;
  response_bytes: number; response_avg_bytes: number | null; distinct_principals?: number | null; distinct_clients?: number | null;
}
export interface Row extends Figures { server?: string | null; tool?: string | null; method?: string | null; status_code?: number | null; client?: string | null; client_version?: string | null; principal?: string | null }
export interface Ranking { as_of: string; duration_error_bound: number; groups: number; total: Figures; items: Row[]; next_cursor: string | null }
export interface ToolSeries { total: Figures; points: (Figures & { at: string })[]; histogram: { from_ms: number; to_ms: number; calls: number }[] }
export interface ToolCall extends Record<string, unknown> {
  id: string; timestamp: string; server: string | null; tool: string; outcome: string; principal: string | null; client_name: string | null; client_version: string | null; duration_ms: number | null;
  response_size_bytes: number; parameters_hash: string | null; error_type: string | null; error_code: string | null; error_message: string | null; trace_id: string | null; session_id: string | null;
}
export type Session = { source: "protocol"; id: string } | { source: "derived"; began_at: string; ended_at: string; calls: number; has_more: boolean };
export interface WholeToolCall extends ToolCall { parameters: unknown; response: unknown; error_stack: string | null; session: Session | null; trace: ToolCall[] }

const common = { placeholderData: keepPreviousData, staleTime: 15_000 };
export type Asked = Record<string, string | undefined>;

/** Figures of tools, servers, clients or requests, ranked. Under "metering", so that they are asked again when records are stored. */
export const rankingOf = (organization: string, span: Span, what: string, asked: Asked = {}) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "mcp", what, span.from, span.to, asked],
    queryFn: ({ signal }) => read<Ranking>(`/api/mcp/${what}`, { from: rfc(span.from), to: rfc(span.to), ...asked }, signal),
  });

export const toolSeriesOf = (organization: string, span: Span, zone: string, asked: Asked) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "mcp", "series", span.from, span.to, span.interval, zone, asked],
    queryFn: ({ signal }) => read<ToolSeries>("/api/mcp/tools/series", { from: rfc(span.from), to: rfc(span.to), interval: span.interval, tz: zone, ...asked }, signal),
  });

export interface Uncalled { server: string | null; tool: string; listed_at: string }

/** Tools that servers list and nobody calls. */
export const uncalledOf = (organization: string, span: Span, server: string | undefined) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "mcp", "uncalled", span.from, span.to, server],
    queryFn: ({ signal }) => read<{ items: Uncalled[] }>("/api/mcp/tools/uncalled", { from: rfc(span.from), to: rfc(span.to), server }, signal),
  });

export const toolCallsOf = (organization: string, span: Span, asked: Asked, cursor?: string) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "mcp", "calls", span.from, span.to, asked, cursor],
    queryFn: ({ signal }) => read<Page<ToolCall>>("/api/mcp/tool-calls", { from: rfc(span.from), to: rfc(span.to), ...asked, cursor }, signal),
  });
