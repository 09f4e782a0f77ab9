import { Badge, Button, Group, Modal, Progress, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { CapacityShare, SharedCapacity } from "../../api/admission";
import { put, read, remove, send } from "../../api/client";
import type { Page } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count, percent } from "../../app/format";
import { Confirm, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { Ending } from "./Costs";
import { operationText as words } from "./operationText";
import { quotaText } from "./quotaText";

const EVERY_MS = 2000;
const PATH = "/api/admission/shared-capacities";
type Open = { kind: "new" } | { kind: "member"; of: SharedCapacity; item: CapacityShare | null } | { kind: "end"; of: SharedCapacity } | { kind: "out"; of: SharedCapacity; item: CapacityShare };

/** Decimal text with its thousands set apart. */
const figure = (amount: string): string => (amount.includes(".") ? amount : count(Number(amount)));

/** What several organizations share: for whoever looks after the installation. */
export function SharedCapacities() {
  const { may } = useScene();
  const client = useQueryClient();
  const [open, setOpen] = useState<Open | null>(null);
  const query = useQuery({ queryKey: ["shared-capacities"], refetchInterval: EVERY_MS, queryFn: ({ signal }) => read<Page<SharedCapacity>>(PATH, { limit: "200" }, signal) });
  const mayChange = may("system:configure");
  const done = () => { setOpen(null); void client.invalidateQueries({ queryKey: ["shared-capacities"] }); };
  if (query.isError && !query.data) return <Problem error={query.error} retry={() => void query.refetch()} />;
  return (
    <Panel title={words.shared} aside={mayChange && <Button size="compact-sm" variant="default" onClick={() => setOpen({ kind: "new" })}>{words.addShared}</Button>}>
      <Stack gap="md">
        <Text size="sm" c="dimmed">{query.data && !query.data.items.length ? words.noShared : words.sharedLead}</Text>
        {query.data?.items.map((of) => <Capacity key={of.id} of={of} mayChange={mayChange} open={setOpen} />)}
      </Stack>
      {open?.kind === "new" && <CapacityForm onClose={() => setOpen(null)} onDone={done} />}
      {open?.kind === "member" && <MemberForm of={open.of} item={open.item} onClose={() => setOpen(null)} onDone={done} />}
      {open?.kind === "end" && <Confirm opened title={words.removeShared} lead={words.removeSharedLead} name={open.of.name} act={() => remove(`${PATH}/${open.of.id}`)} onClose={() => setOpen(null)} onDone={done} />}
      {open?.kind === "out" && <Confirm opened title={words.removeMember} lead={words.removeMemberLead} name={open.item.slug} act={() => remove(`${PATH}/${open.of.id}/members/${open.item.organization_id}`)} onClose={() => setOpen(null)} onDone={done} />}
    </Panel>
  );
}

/** A capacity, and what each member has of it now. */
function Capacity({ of, mayChange, open }: { of: SharedCapacity; mayChange: boolean; open: (what: Open) => void }) {
  const whole = Number(of.rate);
  return (
    <div data-capacity={of.name}>
      <Group justify="space-between" mb={4}>
        <div>
          <Text fw={600}>{of.name} <Text span size="sm" c="dimmed">{of.subject ? `${quotaText.scopes[of.scope]}: ${of.subject}` : words.everything} · {quotaText.dimensions[of.dimension]}</Text></Text>
          <Text size="sm">{words.grantedOf(figure(of.granted), figure(of.rate), of.per, figure(of.burst))} {of.is_lowered && <Badge size="sm" variant="light" color="orange" tt="none">{words.lowered}</Badge>}</Text>
        </div>
        {mayChange && <Group gap="xs"><Button size="compact-xs" variant="default" aria-label={`${words.addMember} ${of.name}`} onClick={() => open({ kind: "member", of, item: null })}>{words.addMember}</Button><Button size="compact-xs" variant="default" color="red" aria-label={`${words.removeShared} ${of.name}`} onClick={() => open({ kind: "end", of })}>{words.removeShared}</Button></Group>}
      </Group>
      {!of.members.length ? <Text size="sm" c="dimmed">{words.noMembers}</Text> : (
        <List name={of.name} minWidth={720} isLoading={false} columns={[words.organization, { name: words.guaranteed, right: true }, words.shareNow, { name: words.demand, right: true }, { name: words.refused, right: true }, ""]}>
          {of.members.map((item) => (
            <Table.Tr key={item.organization_id} data-member={item.slug}>
              <Table.Td><Text size="sm" fw={600}>{item.organization}</Text><Text size="xs" c="dimmed">{[item.most && words.upTo(figure(item.most)), item.weight !== 1 && words.weighs(item.weight)].filter(Boolean).join(" · ")}</Text></Table.Td>
              <Table.Td className="right figure">{figure(item.guaranteed)}</Table.Td>
              <Table.Td miw={160}>
                <Group gap="xs" justify="space-between" wrap="nowrap"><Text size="sm" className="figure">{item.rate === null ? words.nothingYet : figure(item.rate)}</Text>{item.state === "shrinking" && <Badge size="xs" variant="light" color="orange" tt="none">{words.shrinking}</Badge>}</Group>
                <Progress size="sm" value={(100 * Number(item.rate ?? 0)) / whole} aria-label={words.ofWhole(item.organization, percent(Number(item.rate ?? 0) / whole))} />
              </Table.Td>
              <Table.Td className="right figure">{item.demand === null ? "–" : count(Number(item.demand))}</Table.Td>
              <Table.Td className="right figure">{count(item.refused_calls)}</Table.Td>
              <Table.Td className="right">{mayChange && <Group gap={4} justify="flex-end" wrap="nowrap"><Button size="compact-xs" variant="default" aria-label={`${words.edit} ${item.organization}`} onClick={() => open({ kind: "member", of, item })}>{words.edit}</Button><Button size="compact-xs" variant="default" aria-label={`${words.removeMember} ${item.organization}`} onClick={() => open({ kind: "out", of, item })}>{words.removeMember}</Button></Group>}</Table.Td>
            </Table.Tr>
          ))}
        </List>
      )}
    </div>
  );
}

function CapacityForm({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [draft, setDraft] = useState({ name: "", subject: "", rate: "", burst: "" });
  const [kind, setKind] = useState({ dimension: "operations", scope: "cluster", per: "second", failure: "closed" });
  const attempt = useAttempt();
  const field = (name: keyof typeof draft, label: string, description?: string) => (
    <TextInput label={label} description={description} required value={draft[name]} error={attempt.fault?.of(name)} onChange={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })} />
  );
  const choice = (name: keyof typeof kind, label: string, names: Record<string, string>) => (
    <Select label={label} allowDeselect={false} data={Object.entries(names).map(([value, label]) => ({ value, label }))} value={kind[name]} onChange={(value) => value && setKind({ ...kind, [name]: value })} comboboxProps={{ withinPortal: false }} />
  );
  const only = (names: Record<string, string>, wanted: string[]) => Object.fromEntries(wanted.map((name) => [name, names[name] ?? name]));
  const submit = async () => {
    const { subject, ...rest } = draft;
    await send(PATH, { ...rest, ...kind, ...(kind.scope === "organization" ? {} : { subject: subject.trim() }) });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={words.addShared} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          {field("name", text.name, words.nameLead)}
          {choice("scope", words.scope, only(quotaText.scopes, ["cluster", "provider", "model", "endpoint", "organization"]))}
          {kind.scope !== "organization" && field("subject", words.subject)}
          {choice("dimension", words.dimension, only(quotaText.dimensions, ["operations", "requests", "bytes", "tokens"]))}
          <Group grow align="start">{field("rate", words.rate)}{choice("per", words.per, { second: "second", minute: "minute", hour: "hour" })}</Group>
          {field("burst", words.burst, words.burstLead)}
          {choice("failure", words.failure, words.failures)}
          <Ending attempt={attempt} fields={Object.keys(draft)} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}

function MemberForm({ of, item, onClose, onDone }: { of: SharedCapacity; item: CapacityShare | null; onClose: () => void; onDone: () => void }) {
  const [draft, setDraft] = useState({ organization: item?.slug ?? "", guaranteed: item?.guaranteed ?? "", most: item?.most ?? "", weight: String(item?.weight ?? 1) });
  const attempt = useAttempt();
  const field = (name: keyof typeof draft, label: string, more: { description?: string; required?: boolean } = {}) => (
    <TextInput label={label} value={draft[name]} error={attempt.fault?.of(name)} onChange={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })} {...more} />
  );
  const submit = async () => {
    const { organization, guaranteed, most, weight } = draft;
    await put(`${PATH}/${of.id}/members/${encodeURIComponent(organization.trim())}`, { guaranteed: guaranteed.trim(), ...(most.trim() ? { most: most.trim() } : {}), weight: /^\d+$/.test(weight.trim()) ? Number(weight) : weight });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={item ? `${words.edit} ${item.organization}` : `${words.addMember}: ${of.name}`} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          {!item && field("organization", words.organization, { description: words.slugLead, required: true })}
          {field("guaranteed", `${words.guaranteed} (${quotaText.dimensions[of.dimension]} a ${of.per})`, { required: true })}
          {field("most", words.most, { description: words.mostLead })}
          {field("weight", words.weight, { description: words.weightLead })}
          <Ending attempt={attempt} fields={Object.keys(draft)} label={item ? text.save : text.create} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}
