import { Anchor, Autocomplete, Button, Drawer, Group, NativeSelect, Stack, Table, Text, TextInput } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { linkOf, read } from "../../api/client";
import type { AuditEntry, Member, Page } from "../../api/types";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { Copyable, Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { rfc, type View } from "../../app/range";
import { text } from "../../app/text";

const TABLES = ["identity.access_keys", "identity.memberships", "identity.invitations", "identity.roles", "identity.user_roles", "identity.organizations", "identity.provider_credentials", "catalog.prices", "catalog.price_conflicts"];
const ACTIONS = ["insert", "update", "delete", "audit_log_export", "price_list_import"];
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Who changed what, when and from where; a click shows what was before and after. */
export function Audit() {
  const { view, span, zone, organization, go, may } = useScene();
  const [open, setOpen] = useState<AuditEntry | null>(null);
  const [row, setRow] = useState(view.q ?? "");
  const [who, setWho] = useState(view.who ?? "");
  const members = useQuery({ queryKey: ["members", organization], enabled: may("user:read"), queryFn: () => read<Page<Member>>("/api/identity/members") });
  const people = members.data?.items ?? [];
  // A person is found by id, whatever the address was at the time; anything else is a part of how somebody is called.
  const person = people.find((member) => member.user_id === view.who || member.email === view.who);
  const wanted = {
    from: rfc(span.from), to: rfc(span.to), table_name: view.table_name, action: view.action, row_id: view.q,
    ...(person ? { actor_user_id: person.user_id } : UUID.test(view.who ?? "") ? { actor_user_id: view.who } : { actor: view.who }),
  };
  const apply = (change: View) => go({ q: row.trim() || undefined, who: who.trim() || undefined, ...change });
  const query = useInfiniteQuery({
    queryKey: ["audit", organization, wanted],
    queryFn: ({ pageParam, signal }) => read<Page<AuditEntry>>("/api/governance/audit-log", { ...wanted, cursor: pageParam }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (known) => known,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Stack gap="sm">
      <Heading title={text.audit}>
        {may("audit:export") && <Anchor size="xs" download href={linkOf("/api/governance/audit-log/export", wanted)}>{text.exportCsv}</Anchor>}
      </Heading>
      <form onSubmit={(event) => { event.preventDefault(); apply({}); }}>
        <Group gap="xs" align="end">
          <Autocomplete size="xs" label={text.who} data={people.map((member) => member.email)} value={person && who === person.user_id ? person.email : who} limit={30} onChange={setWho} onOptionSubmit={(chosen) => apply({ who: chosen })} />
          <NativeSelect size="xs" label={text.what} value={view.table_name ?? ""} data={[{ value: "", label: text.anyTable }, ...TABLES]} onChange={(event) => apply({ table_name: event.currentTarget.value || undefined })} />
          <NativeSelect size="xs" label={text.change} value={view.action ?? ""} data={[{ value: "", label: text.anyAction }, ...ACTIONS]} onChange={(event) => apply({ action: event.currentTarget.value || undefined })} />
          <TextInput size="xs" label="Id" value={row} onChange={(event) => setRow(event.currentTarget.value)} />
          <Button size="xs" variant="default" type="submit">{text.apply}</Button>
        </Group>
      </form>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? <Teach title={text.auditTeach}>{text.auditLead}</Teach> : (
        <Panel>
          <List name={text.audit} minWidth={760} isLoading={query.isPending} isStale={query.isPlaceholderData} columns={[text.time, text.who, text.change, text.what, "Id", text.where]}>
            {rows.map((entry) => (
              <Table.Tr key={entry.id} className="open" tabIndex={0} onClick={() => setOpen(entry)} onKeyDown={(event) => event.key === "Enter" && setOpen(entry)}>
                <Table.Td style={{ whiteSpace: "nowrap" }}>{instant(entry.occurred_at, zone)}</Table.Td>
                <Table.Td className="cut">{entry.actor_label}</Table.Td>
                <Table.Td>{entry.action}</Table.Td>
                <Table.Td>{entry.table_name ?? "–"}</Table.Td>
                <Table.Td className="cut">{entry.row_id}</Table.Td>
                <Table.Td>{entry.ip_address ?? "–"}</Table.Td>
              </Table.Tr>
            ))}
          </List>
          {query.hasNextPage && <Button size="xs" mt="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
        </Panel>
      )}
      <Drawer opened={open !== null} onClose={() => setOpen(null)} position="right" size="lg" title={open ? [open.action, open.table_name].filter(Boolean).join(" ") : ""} closeButtonProps={{ "aria-label": text.close }}>
        {open && <Change entry={open} zone={zone} />}
      </Drawer>
    </Stack>
  );
}

const shown = (value: unknown) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

function Change({ entry, zone }: { entry: AuditEntry; zone: string }) {
  const names = [...new Set([...Object.keys(entry.old_row ?? {}), ...Object.keys(entry.new_row ?? {})])].sort();
  return (
    <Stack gap="sm">
      <Text size="sm">{entry.actor_label} · {instant(entry.occurred_at, zone)} · {entry.ip_address ?? "–"}</Text>
      {entry.user_agent && <Text size="xs" c="dimmed">{entry.user_agent}</Text>}
      {entry.row_id && <Copyable value={entry.row_id} />}
      {entry.request_id && <Text size="xs" c="dimmed">{text.requestId} {entry.request_id}</Text>}
      <List name={text.change} minWidth={420} columns={["", text.before, text.after]}>
        {names.map((name) => {
          const [before, after] = [shown(entry.old_row?.[name]), shown(entry.new_row?.[name])];
          return (
            <Table.Tr key={name} style={{ fontWeight: before !== after && entry.old_row && entry.new_row ? 600 : undefined }}>
              <Table.Th scope="row">{name}</Table.Th><Table.Td style={{ overflowWrap: "anywhere" }}>{before}</Table.Td><Table.Td style={{ overflowWrap: "anywhere" }}>{after}</Table.Td>
            </Table.Tr>
          );
        })}
      </List>
    </Stack>
  );
}
