import { Anchor, Badge, Breadcrumbs, Button, Group, Modal, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import type { Quota, QuotaDifference, QuotaVersion } from "../../api/admission";
import { read, send } from "../../api/client";
import type { Page } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instant, moment } from "../../app/format";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { Difference } from "./Difference";
import { useSubjects } from "./names";
import { QuotaForm } from "./QuotaForm";
import { LimitLines } from "./Quotas";
import { quotaText as words } from "./quotaText";

const EVERY_MS = 15_000;

/** One quota: what it limits now, its versions with who and why, what differs between any two, and a way back. */
export function QuotaPage() {
  const id = useParams({ strict: false, select: (params: { quota?: string }) => params.quota ?? "" });
  const { organization, zone, view, go, may } = useScene();
  const client = useQueryClient();
  const [isPublishing, setPublishing] = useState(false);
  const [back, setBack] = useState<QuotaVersion | null>(null);
  const key = ["quotas", organization, id];
  // A scheduled version comes into force by itself.
  const query = useQuery({ queryKey: key, refetchInterval: EVERY_MS, queryFn: ({ signal }) => read<Quota>(`/api/admission/quotas/${id}`, {}, signal) });
  const history = useInfiniteQuery({
    queryKey: [...key, "versions"], refetchInterval: EVERY_MS,
    queryFn: ({ pageParam, signal }) => read<Page<QuotaVersion>>(`/api/admission/quotas/${id}/versions`, { limit: "50", cursor: pageParam }, signal),
    initialPageParam: undefined as string | undefined, getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const { nameOf } = useSubjects();
  const versions = history.data?.pages.flatMap((page) => page.items) ?? [];
  const quota = query.data;
  const mayChange = may("quota:update");
  const again = () => void client.invalidateQueries({ queryKey: ["quotas"] });
  const newest = versions[0]?.version ?? 0;
  const second = Number(view.second) || newest, first = Number(view.first) || Math.max(1, second - 1);
  return (
    <Stack gap="sm">
      <Breadcrumbs><Anchor size="sm" href="/quotas" onClick={(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); go({}, "/quotas"); }}>{text.quotas}</Anchor><Text size="sm">{quota?.name ?? id}</Text></Breadcrumbs>
      <Heading title={quota?.name ?? text.quotas}>{quota && mayChange && <Button size="xs" onClick={() => setPublishing(true)}>{words.publish}</Button>}</Heading>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : quota && (
        <Panel>
          <Text size="sm" c="dimmed" mb={6}>{words.scopes[quota.scope]}: {words.at(quota.subject === null ? words.each[quota.scope] : nameOf(quota.scope, quota.subject), quota.provider)}{quota.current && ` · ${words.versionNumber(quota.current.version)}`}{quota.scheduled && ` · ${words.nextAt(quota.scheduled.version, moment(quota.scheduled.valid_from, zone))}`}</Text>
          {quota.current ? <LimitLines limits={quota.current.limits} /> : <Text size="sm">{words.noneInForce}</Text>}
        </Panel>
      )}
      {history.isError && !query.isError ? <Problem error={history.error} retry={() => void history.refetch()} /> : (
        <Panel title={words.history}>
          <Text size="xs" c="dimmed" mb={4}>{words.historyLead}</Text>
          <List name={words.history} minWidth={760} isLoading={history.isPending && !history.isError} columns={["#", words.state, words.validity, words.limits, words.author, words.reason, ""]}>
            {versions.map((item) => (
              <Table.Tr key={item.version} data-version={item.version}>
                <Table.Td>{item.version}</Table.Td>
                <Table.Td><State item={item} /></Table.Td>
                <Table.Td style={{ whiteSpace: "nowrap" }}>{item.valid_from ? instant(item.valid_from, zone) : "–"}<Text size="xs" c="dimmed">{item.valid_to ? words.untilAt(instant(item.valid_to, zone)) : item.is_withdrawn ? "" : words.always}</Text></Table.Td>
                <Table.Td><LimitLines limits={item.limits} /></Table.Td>
                <Table.Td className="cut">{item.author}</Table.Td>
                <Table.Td style={{ overflowWrap: "anywhere" }}>{item.reason}{item.rolled_back_to !== null && <Text size="xs" c="dimmed">{words.rolledBack(item.rolled_back_to)}</Text>}</Table.Td>
                <Table.Td>{mayChange && isPast(item) && <Button size="compact-xs" variant="default" aria-label={words.rollBackTo(item.version)} onClick={() => setBack(item)}>{words.rollBack}</Button>}</Table.Td>
              </Table.Tr>
            ))}
          </List>
          {history.hasNextPage && <Button size="xs" mt="xs" variant="default" loading={history.isFetchingNextPage} onClick={() => void history.fetchNextPage()}>{text.more}</Button>}
        </Panel>
      )}
      {versions.length > 1 && <Compare id={id} versions={versions} first={first} second={second} />}
      {quota && isPublishing && <QuotaForm quota={quota} onClose={() => setPublishing(false)} onDone={() => { setPublishing(false); again(); }} />}
      {back && <RollBack id={id} to={back} onClose={() => setBack(null)} onDone={() => { setBack(null); again(); }} />}
    </Stack>
  );
}

/** Whether it held once: to that one can go back. */
const isPast = (item: QuotaVersion): boolean => !item.is_in_force && !item.is_withdrawn && item.valid_to !== null;

function State({ item }: { item: QuotaVersion }) {
  const [now] = useState(Date.now);
  const [label, color] = item.is_in_force ? [words.inForce, "teal"] : item.is_withdrawn ? [words.withdrawn, "gray"] : item.valid_from && Date.parse(item.valid_from) > now ? [words.scheduled, "blue"] : [words.past, "gray"];
  return <Badge variant="dot" size="sm" tt="none" miw="max-content" color={color}>{label}</Badge>;
}

/** What differs between any two versions; which ones stands in the address. */
function Compare({ id, versions, first, second }: { id: string; versions: QuotaVersion[]; first: number; second: number }) {
  const { organization, go } = useScene();
  const query = useQuery({
    queryKey: ["quotas", organization, id, "difference", first, second], staleTime: Infinity,
    queryFn: ({ signal }) => read<QuotaDifference>(`/api/admission/quotas/${id}/difference`, { first: String(first), second: String(second) }, signal),
  });
  const data = versions.map((item) => ({ value: String(item.version), label: words.versionNumber(item.version) }));
  return (
    <Panel title={words.compare}>
      <Group gap="xs" mb="xs">
        <Select size="xs" w={150} aria-label={words.first} allowDeselect={false} data={data} value={String(first)} onChange={(value) => go({ first: value ?? undefined })} />
        <Select size="xs" w={150} aria-label={words.second} allowDeselect={false} data={data} value={String(second)} onChange={(value) => go({ second: value ?? undefined })} />
      </Group>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && <Difference name={words.difference(first, second)} changes={query.data.changes} />}
    </Panel>
  );
}

function RollBack({ id, to, onClose, onDone }: { id: string; to: QuotaVersion; onClose: () => void; onDone: () => void }) {
  const [reason, setReason] = useState("");
  const attempt = useAttempt();
  const submit = async () => {
    await send<QuotaVersion>(`/api/admission/quotas/${id}/roll-back`, { version: to.version, reason });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={words.rollBackTo(to.version)} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <Text size="sm">{words.rollBackLead(to.version)}</Text>
          <div><LimitLines limits={to.limits} /></div>
          <TextInput autoFocus data-autofocus label={words.reason} description={words.reasonLead} required maxLength={1000} value={reason} error={attempt.fault?.of("reason")} onChange={(event) => setReason(event.currentTarget.value)} />
          {attempt.fault && !attempt.fault.of("reason") && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{words.rollBack}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
