import { Anchor, Button, Checkbox, Group, Modal, NativeSelect, SegmentedControl, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { read, send } from "../../api/client";
import { useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count, moment } from "../../app/format";
import { Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";
import { LevelMark, StatusMark } from "./Marks";
import { AGAIN_MS, changeAll, FILTERS, pageOfIssues, usePeople, wantedOf, type Change } from "./queries";
import { Sparkline } from "./Sparkline";
import type { Issue } from "./types";
import { words } from "./words";

const NEWEST = "-last_seen";

/** The inbox: causes by what was decided about them, with filters, search, and what can be done to several at once. */
export function Errors() {
  const { view, organization, zone, go, may } = useScene();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const wanted = wantedOf(view);
  const query = useInfiniteQuery({
    queryKey: ["errors", organization, "list", wanted],
    queryFn: ({ pageParam, signal }) => pageOfIssues(wanted, pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (known) => known,
    refetchInterval: AGAIN_MS,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const marked = rows.filter((issue) => chosen.has(issue.id));
  const isFiltered = Boolean(view.q) || FILTERS.some((name) => view[name]);
  const mark = (ids: string[], isOn: boolean) => setChosen(new Set(isOn ? [...chosen, ...ids] : [...chosen].filter((id) => !ids.includes(id))));
  const open = (issue: Issue) => go({}, `/errors/${issue.id}`);
  return (
    <Stack gap="sm">
      <Heading title={words.title} />
      <Text size="sm" c="dimmed">{words.lead}</Text>
      <Filters />
      {marked.length > 0 && may("error:manage") && <Together issues={marked} onDone={() => setChosen(new Set())} />}
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? <Nothing isFiltered={isFiltered} /> : (
        <Panel>
          <List name={words.title} minWidth={0} isLoading={query.isPending} isStale={query.isPlaceholderData} sort={view.order ?? NEWEST}
            onSort={(by) => { const order = `-${by.replace("-", "")}`; go({ order: order === NEWEST ? undefined : order }); }}
            columns={["", words.issue, { name: words.count, right: true, sort: "occurrences" }, words.trend, { name: words.lastSeen, sort: "last_seen" }, { name: words.firstSeen, sort: "first_seen" }, words.assignee].filter((_, place) => place > 0 || may("error:manage"))}>
            {rows.map((issue) => (
              <Table.Tr key={issue.id} className="open" tabIndex={0} data-issue={issue.title} onClick={() => open(issue)} onKeyDown={(event) => event.key === "Enter" && event.target === event.currentTarget && open(issue)}>
                {may("error:manage") && <Table.Td w={36} onClick={(event) => event.stopPropagation()}><Checkbox size="xs" aria-label={words.choose(issue.title)} checked={chosen.has(issue.id)} onChange={(event) => mark([issue.id], event.currentTarget.checked)} /></Table.Td>}
                <Table.Td className="issue">
                  <Anchor size="sm" fw={600} href={`/errors/${issue.id}`} lineClamp={1} onClick={(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); event.stopPropagation(); open(issue); }}>{issue.error_type || issue.title}</Anchor>
                  {issue.error_type && <Text size="sm" lineClamp={1}>{issue.title}</Text>}
                  <Group gap={6} mt={2}>
                    <StatusMark status={issue.status} /><LevelMark level={issue.level} />
                    <Text size="xs" c="dimmed" lineClamp={1}>{[issue.service, issue.environment, issue.culprit].filter(Boolean).join(" · ")}</Text>
                  </Group>
                </Table.Td>
                <Table.Td className="right" data-count>{count(issue.occurrences)}</Table.Td>
                <Table.Td><Sparkline counts={issue.trend} /></Table.Td>
                <Table.Td style={{ whiteSpace: "nowrap" }}>{moment(issue.last_seen, zone)}</Table.Td>
                <Table.Td style={{ whiteSpace: "nowrap" }}>{moment(issue.first_seen, zone)}</Table.Td>
                <Table.Td className="cut">{issue.assignee ? issue.assignee.name || issue.assignee.email : "–"}</Table.Td>
              </Table.Tr>
            ))}
          </List>
        </Panel>
      )}
      <Group justify="space-between">
        {rows.length > 0 && may("error:manage") ? <Checkbox size="xs" label={words.chooseAll} checked={rows.length === marked.length} indeterminate={marked.length > 0 && marked.length < rows.length} onChange={(event) => mark(rows.map((issue) => issue.id), event.currentTarget.checked)} /> : <span />}
        {query.hasNextPage && <Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
      </Group>
    </Stack>
  );
}

function Filters() {
  const { view, organization, account, go } = useScene();
  const [typed, setTyped] = useState(view.q ?? "");
  const values = useQuery({ queryKey: ["errors", organization, "values"], staleTime: 60_000, queryFn: ({ signal }) => read<Record<string, string[]>>("/api/errors/values", {}, signal) });
  const people = usePeople();
  const choice = (name: "level" | "environment" | "service" | "category", any: string, of: string[]) => (
    <NativeSelect size="xs" label={words[name]} value={view[name] ?? ""} onChange={(event) => go({ [name]: event.currentTarget.value || undefined })}
      data={[{ value: "", label: any }, ...new Set([...of, ...(view[name] ? [view[name]] : [])])]} />
  );
  return (
    <Stack gap="xs">
      <div className="scrolls">
        <SegmentedControl size="xs" aria-label={words.which} value={view.status ?? "unresolved"} onChange={(status) => go({ status: status === "unresolved" ? undefined : status })}
          data={Object.entries(words.views).map(([value, label]) => ({ value, label }))} />
      </div>
      <form onSubmit={(event) => { event.preventDefault(); go({ q: typed.trim() || undefined }); }}>
        <Group gap="xs" align="end">
          <TextInput size="xs" type="search" label={words.search} placeholder={words.searchLead} maxLength={500} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />
          {choice("level", words.anyLevel, ["fatal", "error", "warn", "info", "debug"])}
          {choice("environment", words.anyEnvironment, values.data?.environment ?? [])}
          {choice("service", words.anyService, values.data?.service ?? [])}
          {choice("category", words.anyCategory, values.data?.category ?? [])}
          <NativeSelect size="xs" label={words.assignee} value={view.assignee ?? ""} onChange={(event) => go({ assignee: event.currentTarget.value || undefined })}
            data={[{ value: "", label: words.anybody }, ...(account.user ? [{ value: "me", label: words.mine }] : []), { value: "none", label: words.nobody }, ...people]} />
          <Button size="xs" variant="default" type="submit">{text.apply}</Button>
        </Group>
      </form>
    </Stack>
  );
}

function Together({ issues, onDone }: { issues: Issue[]; onDone: () => void }) {
  const client = useQueryClient();
  const people = usePeople();
  const attempt = useAttempt();
  const [isMerging, setMerging] = useState(false);
  const ids = issues.map((issue) => issue.id);
  const largest = issues.reduce((one, other) => (other.occurrences > one.occurrences ? other : one));
  const run = (act: () => Promise<unknown>) => void attempt.run(async () => {
    await act();
    await client.invalidateQueries({ queryKey: ["errors"] });
    setMerging(false);
    onDone();
  });
  const change = (to: Change) => run(() => changeAll(ids, to));
  return (
    <Group gap="xs" role="group" aria-label={words.chosen(issues.length)}>
      <Text size="sm" fw={600} aria-live="polite">{words.chosen(issues.length)}</Text>
      <Button size="compact-sm" loading={attempt.busy} onClick={() => change({ status: "resolved" })}>{words.resolve}</Button>
      <Button size="compact-sm" variant="default" disabled={attempt.busy} onClick={() => change({ status: "ignored" })}>{words.ignore}</Button>
      <Button size="compact-sm" variant="default" disabled={attempt.busy} onClick={() => change({ status: "open" })}>{words.reopen}</Button>
      {issues.length > 1 && <Button size="compact-sm" variant="default" disabled={attempt.busy} onClick={() => setMerging(true)}>{words.merge}</Button>}
      <Select size="xs" aria-label={words.assign} placeholder={words.assign} data={[{ value: "", label: words.nobody }, ...people]} value={null} onChange={(id) => id !== null && change({ assignee_id: id || null })} />
      {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
      <Modal opened={isMerging} onClose={() => setMerging(false)} title={words.merge} closeButtonProps={{ "aria-label": text.close }}>
        <Stack>
          <Text size="sm">{words.mergeLead(issues.length - 1, largest.title)}</Text>
          {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          <Group justify="flex-end">
            <Button variant="default" onClick={() => setMerging(false)}>{text.cancel}</Button>
            <Button loading={attempt.busy} onClick={() => run(() => send(`/api/errors/${largest.id}/merge`, { ids: ids.filter((id) => id !== largest.id) }))}>{words.merge}</Button>
          </Group>
        </Stack>
      </Modal>
    </Group>
  );
}

function Nothing({ isFiltered }: { isFiltered: boolean }) {
  const { organization, view, go } = useScene();
  // Whether there was ever an error decides what to say.
  const any = useQuery({ queryKey: ["errors", organization, "any"], queryFn: ({ signal }) => pageOfIssues({}, undefined, signal) });
  if (any.data && !any.data.items.length) {
    return (
      <Teach title={words.emptyTitle}>
        <Stack gap="xs">
          <span>{words.emptyLead}</span>
          <Snippet code={`curl ${window.location.origin}/v1/events -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Idempotency-Key: first-error" \\\n  -H "Content-Type: application/json" -d '[{"type": "error", "message": "connection to db.internal:5432 refused", "error_type": "ConnectionError", "service": "shop"}]'`} />
          <span>{words.otherWays}</span>
        </Stack>
      </Teach>
    );
  }
  const bare = Object.fromEntries(["q", ...FILTERS].map((name) => [name, undefined]));
  return (
    <Teach title={isFiltered || view.status ? words.noneFit : words.noneUnresolved}>
      <Group gap="sm" mt={4}>
        {isFiltered && <Button size="compact-sm" variant="default" onClick={() => go(bare)}>{words.without}</Button>}
        {view.status !== "all" && <Button size="compact-sm" variant="default" onClick={() => go({ ...bare, status: "all" })}>{words.showAll}</Button>}
      </Group>
    </Teach>
  );
}
