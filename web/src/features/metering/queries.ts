import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { Call, Page, Series, Summary } from "../../api/types";
import { rfc, type Span } from "../../app/range";

const common = { placeholderData: keepPreviousData, staleTime: 15_000 };

export const summaryOf = (organization: string, from: number, to: number, groupBy = "") =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "summary", from, to, groupBy],
    queryFn: ({ signal }) => read<Summary>("/api/metering/summary", { from: rfc(from), to: rfc(to), group_by: groupBy }, signal),
  });

export const seriesOf = (organization: string, span: Span, zone: string, groupBy = "") =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "series", span.from, span.to, span.interval, zone, groupBy],
    queryFn: ({ signal }) =>
      read<Series>("/api/metering/series", { from: rfc(span.from), to: rfc(span.to), interval: span.interval, tz: zone, group_by: groupBy }, signal),
  });

export const callsOf = (span: Span, filters: Record<string, string | undefined>, cursor: string | undefined, signal?: AbortSignal) =>
  read<Page<Call>>("/api/metering/calls", { from: rfc(span.from), to: rfc(span.to), limit: "50", cursor, ...filters }, signal);
