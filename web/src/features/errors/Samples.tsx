import { Button, Code, Group, Skeleton, Stack, Table, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { read } from "../../api/client";
import type { Page } from "../../api/types";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { Copyable, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import type { Sample } from "./types";
import { words } from "./words";

const APART = new Set(["message", "stack_trace", "context", "tool_context", "fingerprint", "timestamp", "culprit", "received_at"]);
const shown = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** What single errors said, one at a time, the newest first. */
export function Samples({ id, newest }: { id: string; newest: string }) {
  const { organization, zone } = useScene();
  const [place, setPlace] = useState(0);
  const query = useInfiniteQuery({
    // Another sample is there once another error is: until then the one that is being read stays.
    queryKey: ["errors", organization, "samples", id, newest],
    queryFn: ({ pageParam, signal }) => read<Page<Sample>>(`/api/errors/${id}/samples`, { limit: "20", cursor: pageParam }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (known) => known,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const sample = rows[Math.min(place, rows.length - 1)];
  const older = async () => {
    if (place + 1 >= rows.length) await query.fetchNextPage();
    setPlace(place + 1);
  };
  const turn = (
    <Group gap={6}>
      <Text size="xs" c="dimmed" aria-live="polite">{rows.length > 0 && words.sample(place + 1, `${rows.length}${query.hasNextPage ? "+" : ""}`)}</Text>
      <Button size="compact-xs" variant="default" disabled={place === 0} onClick={() => setPlace(place - 1)}>{words.newer}</Button>
      <Button size="compact-xs" variant="default" disabled={place + 1 >= rows.length && !query.hasNextPage} loading={query.isFetchingNextPage} onClick={() => void older()}>{words.older}</Button>
    </Group>
  );
  return (
    <Panel title={words.samples} aside={turn}>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.isPending ? <Skeleton h={220} /> : !sample ? <Text size="sm" c="dimmed">{words.noSamples}</Text> : (
        <Stack gap="sm" data-sample={sample.id}>
          <Text size="xs" c="dimmed">{instant(sample.timestamp, zone)} · {words.samplesLead}</Text>
          <Text size="sm" fw={600} style={{ overflowWrap: "anywhere", whiteSpace: "pre-wrap" }}>{sample.message}</Text>
          {sample.stack_trace ? <Code block tabIndex={0} aria-label={words.stack} role="group" mah={360} style={{ overflow: "auto" }}>{sample.stack_trace}</Code> : <Text size="sm" c="dimmed">{words.noStack}</Text>}
          {(["context", "tool_context"] as const).filter((name) => sample[name]).map((name) => (
            <div key={name}><Text size="xs" c="dimmed">{name === "context" ? words.context : words.toolContext}</Text><Code block tabIndex={0} className="wraps">{shown(sample[name])}</Code></div>
          ))}
          <List name={words.fields} minWidth={0} columns={["", ""]}>
            {Object.entries(sample).filter(([name, value]) => !APART.has(name) && value !== null && value !== undefined).map(([name, value]) => (
              <Table.Tr key={name}><Table.Th scope="row">{name}</Table.Th><Table.Td style={{ overflowWrap: "anywhere" }}>{name === "trace_id" ? <Copyable value={shown(value)} /> : shown(value)}</Table.Td></Table.Tr>
            ))}
          </List>
        </Stack>
      )}
    </Panel>
  );
}
