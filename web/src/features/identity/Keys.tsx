import { Badge, Button, Checkbox, Group, Modal, MultiSelect, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { read, send } from "../../api/client";
import type { AccessKey, NewAccessKey, Page, Permission } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { Confirm, Heading, List, Once, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { keyText } from "../../app/keyText";
import { text } from "../../app/text";
import { KeyReach } from "./KeyReach";

const DAY_MS = 86_400_000;

/** Access keys: made and shown once, with only the scopes they need; rotated with an overlap; revoked. */
export function Keys() {
  const { organization, zone, may } = useScene();
  const client = useQueryClient();
  const [withRevoked, setWithRevoked] = useState(false);
  const [isCreating, setCreating] = useState(false);
  const [rotated, setRotated] = useState<AccessKey | null>(null);
  const [revoked, setRevoked] = useState<AccessKey | null>(null);
  const [reaching, setReaching] = useState<AccessKey | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const query = useInfiniteQuery({
    queryKey: ["keys", organization, "list", withRevoked],
    queryFn: ({ pageParam, signal }) => read<Page<AccessKey>>("/api/identity/access-keys", { limit: "50", cursor: pageParam, revoked: withRevoked ? "true" : undefined }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const again = () => void client.invalidateQueries({ queryKey: ["keys"] });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Stack gap="sm">
      <Heading title={text.keys}>
        <Checkbox size="xs" label={text.showRevoked} checked={withRevoked} onChange={(event) => setWithRevoked(event.currentTarget.checked)} />
        {may("key:create") && <Button size="xs" onClick={() => setCreating(true)}>{text.createKey}</Button>}
      </Heading>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? <Teach title={text.keysTeach}>{text.keysLead}</Teach> : (
        <Panel>
          <List name={text.keys} minWidth={940} isLoading={query.isPending} columns={[text.name, text.prefix, text.scopes, text.status, text.lastUsed, text.expires, ""]}>
            {rows.map((key) => (
              <Table.Tr key={key.id}>
                <Table.Td className="cut">{key.name}{key.application && <Text size="xs" c="dimmed">{key.application}</Text>}</Table.Td>
                <Table.Td><code>{key.prefix}…</code></Table.Td>
                <Table.Td style={{ maxWidth: 260 }}>{key.scopes.join(", ")}</Table.Td>
                <Table.Td><Status item={key} /></Table.Td>
                <Table.Td>{key.last_used_at ? instant(key.last_used_at, zone) : text.never}</Table.Td>
                <Table.Td>{key.expires_at ? instant(key.expires_at, zone) : text.never}</Table.Td>
                <Table.Td>
                  {!key.revoked_at && (
                    <Group gap={6} wrap="nowrap" justify="flex-end">
                      <Button size="compact-xs" variant="default" aria-label={`${keyText.may}: ${key.name}`} onClick={() => setReaching(key)}>{keyText.may}</Button>
                      {may("key:revoke") && <Button size="compact-xs" variant="default" aria-label={`${text.rotate} ${key.name}`} onClick={() => setRotated(key)}>{text.rotate}</Button>}
                      {may("key:revoke") && <Button size="compact-xs" variant="default" className="bad" aria-label={`${text.revoke} ${key.name}`} onClick={() => setRevoked(key)}>{text.revoke}</Button>}
                    </Group>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </List>
          {query.hasNextPage && <Button size="xs" mt="xs" variant="default" onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
        </Panel>
      )}
      {isCreating && <Create onClose={() => setCreating(false)} onMade={(key) => { setCreating(false); setSecret(key); again(); }} />}
      {rotated && <Rotate item={rotated} onClose={() => setRotated(null)} onMade={(key) => { setRotated(null); setSecret(key); again(); }} />}
      {reaching && <KeyReach item={reaching} onClose={() => setReaching(null)} />}
      <Confirm opened={revoked !== null} title={text.revoke} name={revoked?.name} lead={text.revokeLead(revoked?.name ?? "")} onClose={() => setRevoked(null)} onDone={again}
        act={() => send(`/api/identity/access-keys/${revoked?.id}/revoke`)} />
      <Once title={text.newKey} lead={text.keyOnce} value={secret} onClose={() => setSecret(null)} />
    </Stack>
  );
}

function Status({ item }: { item: AccessKey }) {
  const [now] = useState(Date.now);
  const isOver = item.expires_at !== null && Date.parse(item.expires_at) <= now;
  const [label, color] = item.revoked_at ? [text.revoked, "gray"] : isOver ? [text.expired, "gray"] : [text.active, "teal"];
  return <Badge variant="dot" color={color} size="sm">{label}</Badge>;
}

function Create({ onClose, onMade }: { onClose: () => void; onMade: (key: string) => void }) {
  const { account } = useScene();
  const permissions = useQuery({ queryKey: ["permissions"], staleTime: Infinity, queryFn: () => read<Page<Permission>>("/api/identity/permissions") });
  const [name, setName] = useState("");
  const [application, setApplication] = useState("");
  const [scopes, setScopes] = useState<string[]>(["events:write"]);
  const [life, setLife] = useState<string | null>("365");
  const attempt = useAttempt();
  const { fault } = attempt;
  // Nobody gives what they do not hold.
  const held = (permissions.data?.items ?? []).filter((item) => account.permissions.includes("*") || account.permissions.includes(item.name));
  const submit = async () => {
    const expires_at = life && life !== "0" ? new Date(Date.now() + Number(life) * DAY_MS).toISOString() : undefined;
    onMade((await send<NewAccessKey>("/api/identity/access-keys", { name, scopes, application, expires_at })).key);
  };
  return (
    <Modal opened onClose={onClose} title={text.createKey} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <TextInput autoFocus data-autofocus label={text.name} required maxLength={200} value={name} error={fault?.of("name")} onChange={(event) => setName(event.currentTarget.value)} />
          <MultiSelect label={text.scopes} searchable required value={scopes} error={fault?.of("scopes")} onChange={setScopes} comboboxProps={{ withinPortal: false }} maxDropdownHeight={180}
            data={held.map((item) => ({ value: item.name, label: `${item.name} – ${item.description}` }))} />
          <TextInput label={text.application} maxLength={200} value={application} error={fault?.of("application")} onChange={(event) => setApplication(event.currentTarget.value)} />
          <Select label={text.expiryDays} allowDeselect={false} value={life} onChange={setLife} comboboxProps={{ withinPortal: false }} data={[...["30", "90", "365"].map((value) => ({ value, label: text.days(value) })), { value: "0", label: text.forever }]} />
          {fault && !fault.problem.errors?.length && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.create}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Rotate({ item, onClose, onMade }: { item: AccessKey; onClose: () => void; onMade: (key: string) => void }) {
  const [overlap, setOverlap] = useState<string | null>("86400");
  const attempt = useAttempt();
  const submit = async () => onMade((await send<NewAccessKey>(`/api/identity/access-keys/${item.id}/rotate`, { overlap_seconds: Number(overlap) })).key);
  return (
    <Modal opened onClose={onClose} title={`${text.rotate} ${item.name}`} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <Text size="sm">{text.rotateLead}</Text>
          <Select label={text.overlap} allowDeselect={false} value={overlap} onChange={setOverlap} comboboxProps={{ withinPortal: false }} data={Object.entries(text.overlaps).map(([value, label]) => ({ value, label }))} />
          {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.rotate}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
