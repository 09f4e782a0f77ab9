import { Anchor, Button, Checkbox, Group, Stack, Table, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { linkOf } from "../../api/client";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { duration, instant, money } from "../../app/format";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { filtersOf, rfc } from "../../app/range";
import { text } from "../../app/text";
import { CallPanel } from "./CallPanel";
import { Empty } from "./Empty";
import { FilterBar } from "./FilterBar";
import { callsOf } from "./queries";

/** The calls the figures are made of, newest first; a click shows all of one. */
export function Calls() {
  const { view, span, zone, organization, go, may } = useScene();
  const [open, setOpen] = useState<Call | null>(null);
  const filters = { ...filtersOf(view), errors: view.errors, unpriced: view.unpriced };
  const isFiltered = Object.values(filters).some(Boolean);
  const query = useInfiniteQuery({
    queryKey: ["metering", organization, "calls", span.from, span.to, filters],
    queryFn: ({ pageParam, signal }) => callsOf(span, filters, pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (known) => known,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const download = (format: string) => linkOf("/api/metering/calls", { from: rfc(span.from), to: rfc(span.to), format, ...filters });
  return (
    <Stack gap="sm">
      <Heading title={text.calls}>
        <Checkbox size="xs" label={text.onlyErrors} checked={Boolean(view.errors)} onChange={(event) => go({ errors: event.currentTarget.checked ? "true" : undefined })} />
        <Checkbox size="xs" label={text.onlyUnpriced} checked={Boolean(view.unpriced)} onChange={(event) => go({ unpriced: event.currentTarget.checked ? "true" : undefined })} />
        <Button size="compact-xs" variant="default" onClick={() => go(span.isLive ? { range: undefined, from: rfc(span.from), to: rfc(Math.min(span.to, Date.now())) } : { from: undefined, to: undefined })}>{span.isLive ? text.pause : text.resume}</Button>
        {may("metrics:export") && <><Anchor size="xs" href={download("csv")} download>{text.exportCsv}</Anchor><Anchor size="xs" href={download("parquet")} download>{text.exportParquet}</Anchor></>}
      </Heading>
      <FilterBar />
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? (
        isFiltered ? <Text c="dimmed">{text.none}</Text> : <Empty />
      ) : (
        <Panel>
          <List name={text.calls} minWidth={760} isLoading={query.isPending} isStale={query.isPlaceholderData}
            columns={[text.time, text.provider, text.call, text.model, { name: text.status, right: true }, { name: text.latency, right: true }, { name: text.cost, right: true }, text.user]}>
            {rows.map((call) => (
              <Table.Tr key={call.id} className="open" tabIndex={0} onClick={() => setOpen(call)} onKeyDown={(event) => event.key === "Enter" && setOpen(call)}>
                <Table.Td style={{ whiteSpace: "nowrap" }}>{instant(call.timestamp, zone)}</Table.Td>
                <Table.Td>{call.provider}</Table.Td>
                <Table.Td className="cut">{[call.method, call.endpoint].filter(Boolean).join(" ") || "–"}</Table.Td>
                <Table.Td className="cut">{call.model || "–"}</Table.Td>
                <Table.Td className="right"><span className={call.status_code >= 400 || !call.status_code ? "bad" : undefined}>{call.status_code}</span></Table.Td>
                <Table.Td className="right">{duration(call.response_time_ms)}</Table.Td>
                <Table.Td className="right" title={call.unpriced_reason ?? undefined}>{money(call.cost, call.currency)}</Table.Td>
                <Table.Td className="cut">{call.user || "–"}</Table.Td>
              </Table.Tr>
            ))}
          </List>
        </Panel>
      )}
      <Group justify="space-between">
        <Text size="xs" c="dimmed">{span.isLive && rows.length ? text.tailing : " "}</Text>
        {query.hasNextPage && <Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
      </Group>
      <CallPanel call={open} onClose={() => setOpen(null)} />
    </Stack>
  );
}
