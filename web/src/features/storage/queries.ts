import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { read } from "../../api/client";
import { rfc, type Span } from "../../app/range";

export interface Figures {
  windows: number; operations: number; read_ops: number; write_ops: number; error_count: number; bytes_read: number; bytes_written: number;
  iops: number | null; read_iops: number | null; write_iops: number | null; bytes_per_second: number | null; read_bytes_per_second: number | null; write_bytes_per_second: number | null;
  peak_iops: number | null; peak_bytes_per_second: number | null; latency_avg_ms: number | null; window_latency_p95_ms: number | null; highest_p95_latency_ms: number | null; highest_p99_latency_ms: number | null;
}
export interface Row extends Figures { application?: string | null; cluster?: string | null; operation?: string | null }
export interface Summary { as_of: string; latency_error_bound: number; groups: number; total: Figures; items: Row[] }
export interface StorageSeries { as_of: string; points: (Row & { at: string })[] }
export interface Limit { id: string; name: string; application: string | null; dimension: "operations" | "bytes"; burst: number; per_second: number | null; is_shadow: boolean }
export interface Admitted { application: string; dimension: "operations" | "bytes"; units: number; units_per_second: number }
export interface Limits { limits: Limit[]; admitted: Admitted[] | null }

const common = { placeholderData: keepPreviousData, staleTime: 15_000 };
export type Asked = Record<string, string | undefined>;

/** Figures by application, operation or cluster. Under "metering", so that they are asked again when records are stored. */
export const summaryOf = (organization: string, span: Span, asked: Asked) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "storage", "summary", span.from, span.to, asked],
    queryFn: ({ signal }) => read<Summary>("/api/storage/summary", { from: rfc(span.from), to: rfc(span.to), ...asked }, signal),
  });

export const seriesOf = (organization: string, span: Span, zone: string, asked: Asked) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "storage", "series", span.from, span.to, span.interval, zone, asked],
    queryFn: ({ signal }) => read<StorageSeries>("/api/storage/series", { from: rfc(span.from), to: rfc(span.to), interval: span.interval, tz: zone, ...asked }, signal),
  });

export const limitsOf = (organization: string, span: Span, isAllowed: boolean) =>
  queryOptions({
    ...common,
    enabled: isAllowed,
    queryKey: ["metering", organization, "storage", "limits", span.from, span.to],
    queryFn: ({ signal }) => read<Limits>("/api/storage/limits", { from: rfc(span.from), to: rfc(span.to) }, signal),
  });
