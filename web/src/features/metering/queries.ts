import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { AccessKey, Call, Page, Series, Summary } from "../../api/types";
import { rfc, type Span } from "../../app/range";

const common = { placeholderData: keepPreviousData, staleTime: 15_000 };
export type Filters = Record<string, string>;

/** Up to now, all who look ask one question and share its answer; it is taken out of use when calls are stored. */
const rangeOf = ({ last, from, to }: Span) => (last ? { last } : { from: rfc(from), to: rfc(to) });

export const summaryOf = (organization: string, span: Span, groupBy = "", filters: Filters = {}) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "summary", span.from, span.to, groupBy, filters],
    queryFn: ({ signal }) => read<Summary>("/api/dashboards/summary", { ...rangeOf(span), group_by: groupBy, ...filters }, signal),
  });

/** A series of the named metrics only: percentiles and distinct counts of many points are dear. */
export const seriesOf = (organization: string, span: Span, zone: string, metrics: string, groupBy = "", filters: Filters = {}, interval = span.interval) =>
  queryOptions({
    ...common,
    queryKey: ["metering", organization, "series", span.from, span.to, interval, zone, metrics, groupBy, filters],
    queryFn: ({ signal }) =>
      read<Series>("/api/dashboards/series", { ...rangeOf(span), interval, tz: zone, metrics, group_by: groupBy, ...filters }, signal),
  });

export const callsOf = (span: Span, filters: Record<string, string | undefined>, cursor: string | undefined, signal?: AbortSignal) =>
  read<Page<Call>>("/api/metering/calls", { from: rfc(span.from), to: rfc(span.to), limit: "50", cursor, ...filters }, signal);

/** Access keys by id, for naming what calls carry as ids only. */
export const keysOf = (organization: string, isAllowed: boolean) =>
  queryOptions({
    enabled: isAllowed,
    staleTime: 60_000,
    queryKey: ["keys", organization, "names"],
    queryFn: async ({ signal }) => {
      const page = await read<Page<AccessKey>>("/api/identity/access-keys", { limit: "500", revoked: "true" }, signal);
      return new Map(page.items.map((key) => [key.id, `${key.name} (${key.prefix}…)`]));
    },
  });

/** Names of the tags that recent calls carry. */
export const tagsOf = (organization: string, span: Span) =>
  queryOptions({
    staleTime: 60_000,
    placeholderData: keepPreviousData,
    queryKey: ["tags", organization, Math.floor(span.to / 3_600_000)],
    queryFn: async ({ signal }) => {
      const page = await read<Page<Call>>("/api/metering/calls", { from: rfc(span.from), to: rfc(span.to), limit: "100" }, signal);
      return [...new Set(page.items.flatMap((call) => Object.keys((call.tags as Record<string, string> | null) ?? {})))].sort();
    },
  });
