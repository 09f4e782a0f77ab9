import { Alert, Anchor, Breadcrumbs, Button, Code, Group, Modal, Select, SimpleGrid, Skeleton, Stack, Table, Text, Textarea } from "@mantine/core";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { lazy, Suspense, useMemo, useState } from "react";
import { read, send } from "../../api/client";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count, instant, moment } from "../../app/format";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { rfc } from "../../app/range";
import { text } from "../../app/text";
import { LevelMark, StatusMark } from "./Marks";
import { AGAIN_MS, changeOne, usePeople, type Change } from "./queries";
import { Samples } from "./Samples";
import type { Cause, IssueDetail, Point } from "./types";
import { words } from "./words";

const Chart = lazy(() => import("../metering/Chart"));
const HOUR_MS = 3_600_000;
const MOST_HOURS = 24 * 14;

/** One issue: what it is, since when and where, what an error said, why they are one, and what was done about it. */
export function IssuePage() {
  const { organization, go } = useScene();
  const id = useParams({ strict: false, select: (params: { issue?: string }) => params.issue ?? "" });
  const query = useQuery({ queryKey: ["errors", organization, "issue", id], refetchInterval: AGAIN_MS, placeholderData: keepPreviousData, queryFn: ({ signal }) => read<IssueDetail>(`/api/errors/${encodeURIComponent(id)}`, {}, signal) });
  const detail = query.data;
  const trail = (
    <Breadcrumbs separator="›" aria-label={text.trail} component="nav">
      <Anchor size="sm" href="/errors" onClick={(event) => { event.preventDefault(); go({}, "/errors"); }}>{words.title}</Anchor>
      <Text size="sm" c="dimmed" lineClamp={1}>{detail?.issue.error_type || detail?.issue.title || words.issue}</Text>
    </Breadcrumbs>
  );
  if (query.isError) return <Stack gap="sm">{trail}<Heading title={words.issue} /><Problem error={query.error} retry={() => void query.refetch()} /></Stack>;
  if (!detail) return <Stack gap="sm">{trail}<Skeleton h={64} /><Skeleton h={190} /><Skeleton h={260} /></Stack>;
  const { issue } = detail;
  return (
    <Stack gap="sm">
      {trail}
      <Heading title={issue.error_type || issue.title}><StatusMark status={issue.status} /><LevelMark level={issue.level} /></Heading>
      {issue.error_type && <Text size="sm" style={{ overflowWrap: "anywhere" }}>{issue.title}</Text>}
      {issue.culprit && <Text size="xs" c="dimmed" ff="monospace" style={{ overflowWrap: "anywhere" }}>{issue.culprit}</Text>}
      {issue.merged_into ? (
        <Alert title={words.mergedInto}><Button size="compact-sm" variant="default" onClick={() => go({}, `/errors/${issue.merged_into}`)}>{words.goThere}</Button></Alert>
      ) : <Actions detail={detail} />}
      <Facts detail={detail} />
      <Trend id={id} first={issue.first_seen} />
      <Samples id={id} newest={issue.last_seen} />
      <Causes detail={detail} />
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Where detail={detail} />
        <History detail={detail} />
      </SimpleGrid>
    </Stack>
  );
}

function Actions({ detail: { issue } }: { detail: IssueDetail }) {
  const { may, zone } = useScene();
  const client = useQueryClient();
  const people = usePeople();
  const attempt = useAttempt();
  const [asked, setAsked] = useState<"resolved" | "ignored" | null>(null);
  const [notes, setNotes] = useState("");
  const change = (to: Change) => void attempt.run(async () => {
    await changeOne(issue.id, to);
    await client.invalidateQueries({ queryKey: ["errors"] });
    setAsked(null);
    setNotes("");
  });
  const isDone = issue.status === "resolved" || issue.status === "ignored";
  return (
    <Stack gap={6}>
      {may("error:manage") && (
        <Group gap="xs">
          {isDone ? <Button size="xs" variant="default" loading={attempt.busy} onClick={() => change({ status: "open" })}>{words.reopen}</Button> : <>
            <Button size="xs" disabled={attempt.busy} onClick={() => setAsked("resolved")}>{words.resolve}</Button>
            <Button size="xs" variant="default" disabled={attempt.busy} onClick={() => setAsked("ignored")}>{words.ignore}</Button>
          </>}
          <Select size="xs" aria-label={words.assignee} placeholder={words.assign} clearable searchable data={people} value={issue.assignee?.id ?? null} clearButtonProps={{ "aria-label": words.nobody }} onChange={(id) => change({ assignee_id: id })} />
        </Group>
      )}
      {attempt.fault && !asked && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
      {issue.status === "resolved" && issue.resolved_at && <Text size="sm" c="dimmed">{words.resolvedBy(issue.resolved_by, moment(issue.resolved_at, zone))} {issue.resolution_notes}</Text>}
      <Modal opened={asked !== null} onClose={() => setAsked(null)} title={asked === "ignored" ? words.ignore : words.resolve} closeButtonProps={{ "aria-label": text.close }}>
        <form onSubmit={(event) => { event.preventDefault(); if (asked) change({ status: asked, notes: notes.trim() }); }}>
          <Stack>
            <Textarea autoFocus data-autofocus label={words.notesLead} maxLength={4000} autosize minRows={2} value={notes} onChange={(event) => setNotes(event.currentTarget.value)} />
            {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
            <Group justify="flex-end"><Button variant="default" onClick={() => setAsked(null)}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{asked === "ignored" ? words.ignore : words.resolve}</Button></Group>
          </Stack>
        </form>
      </Modal>
    </Stack>
  );
}

function Facts({ detail: { issue, met, met_more } }: { detail: IssueDetail }) {
  const { zone } = useScene();
  const facts: [string, string][] = [
    [words.count, count(issue.occurrences)], [words.firstSeen, instant(issue.first_seen, zone)], [words.lastSeen, instant(issue.last_seen, zone)], [words.met, met ? `${count(met)}${met_more ? "+" : ""}` : "–"],
    [words.severity, `${issue.severity} / 5`], [words.impact, issue.impact_level || "–"], [words.category, issue.category || "–"], [words.service, [issue.service, issue.service_version].filter(Boolean).join(" ") || "–"],
    [words.environment, issue.environment], ...(issue.regressions ? [[words.regressions, words.times(issue.regressions)] as [string, string]] : []),
  ];
  return (
    <Panel title={words.facts}>
      <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="xs" component="dl" m={0}>
        {facts.map(([name, value]) => <div key={name}><Text size="xs" c="dimmed" component="dt">{name}</Text><Text size="sm" fw={600} component="dd" m={0} style={{ overflowWrap: "anywhere" }}>{value}</Text></div>)}
      </SimpleGrid>
    </Panel>
  );
}

function Trend({ id, first }: { id: string; first: string }) {
  const { organization, zone } = useScene();
  const [now] = useState(() => Date.now());
  // By hour for two weeks, by day for what is older; from the first error on, but never less than a day.
  const hours = Math.max(24, Math.ceil((now - Date.parse(first)) / HOUR_MS) + 1);
  const isHourly = hours <= MOST_HOURS;
  const step = isHourly ? HOUR_MS : 24 * HOUR_MS;
  const end = Math.floor(now / step) * step + step;
  const start = end - Math.min(isHourly ? hours : Math.ceil(hours / 24) + 1, isHourly ? MOST_HOURS : 365) * step;
  const query = useQuery({ queryKey: ["errors", organization, "trend", id, start, end], refetchInterval: AGAIN_MS, queryFn: ({ signal }) => read<{ points: Point[] }>(`/api/errors/${id}/series`, { from: rfc(start), to: rfc(end), interval: isHourly ? "1h" : "1d" }, signal) });
  const drawn = useMemo(() => {
    const found = new Map((query.data?.points ?? []).map((point) => [Date.parse(point.at), point.errors]));
    const times = Array.from({ length: (end - start) / step }, (_, place) => start + place * step);
    return { times, lines: [{ name: words.count, color: "#d55e00", values: times.map((at) => found.get(at) ?? 0) }] };
  }, [query.data, start, end, step]);
  return (
    <Panel title={words.over}>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : !query.data ? <Skeleton h={190} /> : (
        <Suspense fallback={<Skeleton h={190} />}><Chart title={words.over} times={drawn.times} lines={drawn.lines} kind="bar" zone={isHourly ? zone : "UTC"} step={step / 1000} format={count} onZoom={() => undefined} /></Suspense>
      )}
    </Panel>
  );
}

function Causes({ detail: { issue, causes } }: { detail: IssueDetail }) {
  const { may, go, zone } = useScene();
  const client = useQueryClient();
  const attempt = useAttempt();
  const split = (cause: Cause) => void attempt.run(async () => {
    const made = await send<IssueDetail>(`/api/errors/${issue.id}/split`, { fingerprints: [cause.fingerprint] });
    await client.invalidateQueries({ queryKey: ["errors"] });
    go({}, `/errors/${made.issue.id}`);
  });
  return (
    <Panel title={words.why} aside={<Text size="xs" c="dimmed">{words.causes(causes.length)}</Text>}>
      <Stack gap="sm">
        <Text size="sm" c="dimmed">{words.whyLead}</Text>
        {causes.map((cause) => (
          <div key={cause.fingerprint} data-cause={cause.rule}>
            <Group justify="space-between" gap="xs">
              <Text size="sm">{words.rules[cause.rule]}</Text>
              <Group gap="xs">
                <Text size="xs" c="dimmed">{count(cause.occurrences)} · {moment(cause.first_seen, zone)} – {moment(cause.last_seen, zone)}</Text>
                {causes.length > 1 && may("error:manage") && <Button size="compact-xs" variant="default" title={words.splitLead} loading={attempt.busy} onClick={() => split(cause)}>{words.split}</Button>}
              </Group>
            </Group>
            <Code block tabIndex={0} mt={4} className="wraps">{cause.normalised}</Code>
          </div>
        ))}
        {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
      </Stack>
    </Panel>
  );
}

function Where({ detail: { facets } }: { detail: IssueDetail }) {
  const { zone } = useScene();
  const names: Record<string, string> = { environment: words.environment, service: words.service, service_version: words.version, application: words.application };
  return (
    <Panel title={words.where}>
      <List name={words.where} minWidth={0} columns={["", text.value, { name: words.count, right: true }, words.lastSeen]}>
        {Object.entries(names).flatMap(([facet, label]) => (facets[facet] ?? []).map((item) => (
          <Table.Tr key={facet + item.value}><Table.Td>{label}</Table.Td><Table.Td className="cut" title={item.value}>{item.value}</Table.Td><Table.Td className="right">{count(item.occurrences)}</Table.Td><Table.Td style={{ whiteSpace: "nowrap" }}>{moment(item.last_seen, zone)}</Table.Td></Table.Tr>
        )))}
      </List>
    </Panel>
  );
}

function History({ detail: { issue, events } }: { detail: IssueDetail }) {
  const { may, zone } = useScene();
  const client = useQueryClient();
  const attempt = useAttempt();
  const [note, setNote] = useState("");
  const add = async () => {
    await send(`/api/errors/${issue.id}/notes`, { text: note.trim() });
    await client.invalidateQueries({ queryKey: ["errors"] });
    setNote("");
  };
  return (
    <Panel title={words.history}>
      <Stack gap="xs">
        {may("error:manage") && !issue.merged_into && (
          <form onSubmit={(event) => onSubmit(event, attempt, add)}>
            <Stack gap={6}>
              <Textarea size="xs" label={words.noteLabel} maxLength={4000} autosize minRows={2} value={note} onChange={(event) => setNote(event.currentTarget.value)} />
              {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
              <Group justify="flex-end"><Button size="compact-sm" variant="default" type="submit" loading={attempt.busy} disabled={!note.trim()}>{words.addNote}</Button></Group>
            </Stack>
          </form>
        )}
        {!events.length && <Text size="sm" c="dimmed">{words.noHistory}</Text>}
        {events.map((event) => (
          <div key={event.id} data-event={event.kind}>
            <Text size="sm"><b>{event.actor}</b> {words.event(event)} <Text span size="xs" c="dimmed">{moment(event.at, zone)}</Text></Text>
            {words.remark(event) && <Text size="sm" style={{ overflowWrap: "anywhere", whiteSpace: "pre-wrap" }}>{words.remark(event)}</Text>}
          </div>
        ))}
      </Stack>
    </Panel>
  );
}
