import { ActionIcon, Anchor, Badge, Button, Checkbox, Code, CopyButton, Drawer, Group, Paper, Skeleton, Stack, Table, Text, Title } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { Call } from "../../api/types";
import { duration, instant, money } from "../../app/format";
import { Problem } from "../../app/Problem";
import { rfc, type Span, type View } from "../../app/range";
import { text } from "../../app/text";
import { Empty } from "./Empty";
import { callsOf } from "./queries";

interface Props { view: View; span: Span; zone: string; organization: string }

/** The calls the figures are made of, newest first; a click shows all of one. */
export function Calls({ view, span, zone, organization }: Props) {
  const navigate = useNavigate();
  const [open, setOpen] = useState<Call | null>(null);
  const filters = { provider: view.provider, errors: view.errors ? "true" : undefined };
  const query = useInfiniteQuery({
    queryKey: ["metering", organization, "calls", span.from, span.to, filters],
    queryFn: ({ pageParam, signal }) => callsOf(span, filters, pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const change = (next: Partial<View>) => void navigate({ to: "/calls", search: { ...view, ...next } as never });
  const download = (format: string) => {
    const pairs = { from: rfc(span.from), to: rfc(span.to), format, organization, ...filters };
    return `/api/metering/calls?${new URLSearchParams(Object.entries(pairs).filter((pair): pair is [string, string] => Boolean(pair[1])))}`;
  };
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={1} size="h3">{text.calls}</Title>
          {view.provider && <Badge variant="light" rightSection={<ActionIcon size="xs" variant="transparent" aria-label={`Show all, not only ${view.provider}`} onClick={() => change({ provider: undefined })}>×</ActionIcon>}>{view.provider}</Badge>}
        </Group>
        <Group gap="md">
          <Checkbox size="xs" label={text.onlyErrors} checked={Boolean(view.errors)} onChange={(event) => change({ errors: event.currentTarget.checked || undefined })} />
          <Anchor size="xs" href={download("csv")} download>{text.exportCsv}</Anchor>
          <Anchor size="xs" href={download("parquet")} download>{text.exportParquet}</Anchor>
        </Group>
      </Group>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? (
        view.provider || view.errors ? <Text c="dimmed">{text.none}</Text> : <Empty />
      ) : (
        <Paper withBorder radius="md">
          <Table.ScrollContainer minWidth={720}>
            <Table highlightOnHover verticalSpacing={6}>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>{text.time}</Table.Th><Table.Th>{text.provider}</Table.Th><Table.Th>{text.call}</Table.Th><Table.Th>{text.model}</Table.Th>
                  <Table.Th className="right">{text.status}</Table.Th><Table.Th className="right">{text.latency}</Table.Th><Table.Th className="right">{text.cost}</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {rows.map((call) => (
                  <Table.Tr key={call.id} className="open" tabIndex={0} onClick={() => setOpen(call)} onKeyDown={(event) => event.key === "Enter" && setOpen(call)}>
                    <Table.Td style={{ whiteSpace: "nowrap" }}>{instant(call.timestamp, zone)}</Table.Td>
                    <Table.Td>{call.provider}</Table.Td>
                    <Table.Td style={{ maxWidth: 280, overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" }}>{[call.method, call.endpoint].filter(Boolean).join(" ") || "–"}</Table.Td>
                    <Table.Td>{call.model || "–"}</Table.Td>
                    <Table.Td className="right"><Text span inherit className={call.status_code >= 400 || !call.status_code ? "bad" : undefined}>{call.status_code}</Text></Table.Td>
                    <Table.Td className="right">{duration(call.response_time_ms)}</Table.Td>
                    <Table.Td className="right" title={call.unpriced_reason ?? undefined}>{money(call.cost, call.currency)}</Table.Td>
                  </Table.Tr>
                ))}
                {query.isPending && Array.from({ length: 8 }, (_, row) => <Table.Tr key={row}><Table.Td colSpan={7}><Skeleton h={18} /></Table.Td></Table.Tr>)}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        </Paper>
      )}
      {query.hasNextPage && <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()} mx="auto">{text.more}</Button>}
      <Drawer opened={open !== null} onClose={() => setOpen(null)} position="right" title={text.details} size="lg" closeButtonProps={{ "aria-label": "Close" }}>
        {open && (
          <Stack gap="xs">
            <Group gap="xs"><Code>{open.id}</Code><CopyButton value={open.id}>{({ copied, copy }) => <Button size="compact-xs" variant="default" onClick={copy}>{copied ? text.copied : text.copy}</Button>}</CopyButton></Group>
            <Table layout="fixed" verticalSpacing={4}>
              <Table.Tbody>
                {Object.entries(open).filter(([, value]) => value !== null && value !== "" && value !== 0).map(([name, value]) => (
                  <Table.Tr key={name}><Table.Th w="40%" style={{ fontWeight: 500 }}>{name}</Table.Th><Table.Td style={{ overflowWrap: "anywhere" }}>{typeof value === "object" ? JSON.stringify(value) : String(value)}</Table.Td></Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Stack>
        )}
      </Drawer>
    </Stack>
  );
}
