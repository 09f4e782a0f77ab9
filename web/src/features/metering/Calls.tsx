import { Anchor, Button, Checkbox, Group, Stack, Table, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { linkOf } from "../../api/client";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { filtersOf, rfc } from "../../app/range";
import { text } from "../../app/text";
import { CallPanel } from "./CallPanel";
import { ColumnChoice, useColumns } from "./ColumnChoice";
import { Empty } from "./Empty";
import { FilterBar, Nothing } from "./FilterBar";
import { useNames } from "./names";
import { callsOf } from "./queries";

const NEWEST = "-timestamp";

/** The calls the figures are made of, newest first unless sorted otherwise; a click shows all of one. */
export function Calls() {
  const { view, span, zone, organization, go, may } = useScene();
  const [open, setOpen] = useState<Call | null>(null);
  const columns = useColumns();
  const nameOf = useNames();
  const sort = view.sort ?? NEWEST;
  const filters = { ...filtersOf(view), errors: view.errors, unpriced: view.unpriced, refused: view.refused };
  const isFiltered = Object.values(filters).some(Boolean);
  const query = useInfiniteQuery({
    queryKey: ["metering", organization, "calls", span.from, span.to, filters, sort],
    queryFn: ({ pageParam, signal }) => callsOf(span, { ...filters, sort }, pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (known) => known,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const download = (format: string) => linkOf("/api/metering/calls", { from: rfc(span.from), to: rfc(span.to), format, sort, ...filters });
  return (
    <Stack gap="sm">
      <Heading title={text.calls}>
        <ColumnChoice />
        <Checkbox size="xs" label={text.onlyErrors} checked={Boolean(view.errors)} onChange={(event) => go({ errors: event.currentTarget.checked ? "true" : undefined })} />
        <Checkbox size="xs" label={text.onlyUnpriced} checked={Boolean(view.unpriced)} onChange={(event) => go({ unpriced: event.currentTarget.checked ? "true" : undefined })} />
        <Checkbox size="xs" label={text.onlyRefused} checked={Boolean(view.refused)} onChange={(event) => go({ refused: event.currentTarget.checked ? "true" : undefined })} />
        <Button size="compact-xs" variant="default" onClick={() => go(span.isLive ? { range: undefined, from: rfc(span.from), to: rfc(Math.min(span.to, Date.now())) } : { from: undefined, to: undefined })}>{span.isLive ? text.pause : text.resume}</Button>
        {may("metrics:export") && <><Anchor size="xs" href={download("csv")} download>{text.exportCsv}</Anchor><Anchor size="xs" href={download("parquet")} download>{text.exportParquet}</Anchor></>}
      </Heading>
      <FilterBar />
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? (
        isFiltered ? <Nothing /> : <Empty />
      ) : (
        <Panel>
          <List name={text.calls} minWidth={columns.length > 4 ? 100 * columns.length : 0} isLoading={query.isPending} isStale={query.isPlaceholderData} sort={sort} onSort={(chosen) => go({ sort: chosen === NEWEST ? undefined : chosen })}
            columns={columns}>
            {rows.map((call) => (
              <Table.Tr key={call.id} className="open" tabIndex={0} onClick={() => setOpen(call)} onKeyDown={(event) => event.key === "Enter" && setOpen(call)}>
                {columns.map((column) => <Table.Td key={column.id} data-column={column.id} className={column.right ? "right" : column.isCut ? "cut" : undefined} title={column.title?.(call)}>{column.cell(call, { zone, nameOf })}</Table.Td>)}
              </Table.Tr>
            ))}
          </List>
        </Panel>
      )}
      <Group justify="space-between">
        <Text size="xs" c="dimmed">{span.isLive && rows.length && sort === NEWEST ? text.tailing : " "}</Text>
        {query.hasNextPage && <Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
      </Group>
      <CallPanel call={open} onClose={() => setOpen(null)} />
    </Stack>
  );
}
