import { Drawer, Group, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Dimension, Hold, HoldLimit, Scope } from "../../api/admission";
import { read } from "../../api/client";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { Copyable, List } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { holdText as words } from "./holdText";
import { quotaText } from "./quotaText";
import { unitsOf } from "./units";

const EVERY_MS = 2000;

/** Where the id of a hold is typed, or pasted, to be told what became of it. */
export function HoldSearch() {
  const { go } = useScene();
  const [id, setId] = useState("");
  return (
    <form role="search" aria-label={words.find} onSubmit={(event) => { event.preventDefault(); if (id.trim()) go({ hold: id.trim() }); }}>
      <TextInput size="xs" w={220} aria-label={words.find} placeholder={`${words.find}: ${words.findLead}`} value={id} maxLength={100} onChange={(event) => setId(event.currentTarget.value)} />
    </form>
  );
}

/** One held call: what each limit had, was charged, and got back. While it is open it is looked at again and again. */
export function HoldPanel({ id, nameOf, onClose }: { id: string | undefined; nameOf: (scope: Scope, subject: string) => string; onClose: () => void }) {
  const { organization, zone } = useScene();
  const query = useQuery({
    queryKey: ["hold", organization, id], enabled: id !== undefined,
    queryFn: ({ signal }) => read<Hold>(`/api/admission/holds/${encodeURIComponent(id ?? "")}`, {}, signal),
    refetchInterval: ({ state }) => state.data?.state === "open" && EVERY_MS,
  });
  const hold = query.data;
  return (
    <Drawer opened={id !== undefined} onClose={onClose} position="right" size="lg" title={words.hold} closeButtonProps={{ "aria-label": text.close }}>
      <Stack gap="sm">
        {id && <Copyable value={id} />}
        {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : (
          <>
            {hold && <Text size="sm" fw={600} data-state={hold.state}>{words.states[hold.state]}</Text>}
            {hold && (
              <Group gap="md">
                <When name={words.began} at={hold.began_at} zone={zone} />
                {hold.ended_at && <When name={words.ended} at={hold.ended_at} zone={zone} />}
                {hold.expires_at && <When name={words.expires} at={hold.expires_at} zone={zone} />}
              </Group>
            )}
            <Text size="xs" c="dimmed">{words.lead}</Text>
            <List name={words.hold} minWidth={480} isLoading={query.isPending} columns={[words.limit, { name: words.had, right: true }, { name: words.charged, right: true }, { name: words.left, right: true }, { name: words.settled, right: true }, { name: words.back, right: true }]}>
              {hold?.limits.map((item) => <Row key={item.bucket} item={item} isOpen={hold.state === "open"} nameOf={nameOf} />)}
            </List>
          </>
        )}
      </Stack>
    </Drawer>
  );
}

function When({ name, at, zone }: { name: string; at: string; zone: string }) {
  return <div><Text size="xs" c="dimmed">{name}</Text><Text size="sm" className="figure">{instant(at, zone)}</Text></div>;
}

function Row({ item, isOpen, nameOf }: { item: HoldLimit; isOpen: boolean; nameOf: (scope: Scope, subject: string) => string }) {
  const amount = (units: number | null) => (units === null ? "–" : unitsOf(units, item.dimension as Dimension, item.scale, false));
  const missing = isOpen ? words.notYet : item.was_over ? words.over : words.unknown;
  return (
    <Table.Tr data-limit={item.limit}>
      <Table.Td>
        <Text size="sm" fw={600}>{item.limit || words.gone}</Text>
        {item.scope && <Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{quotaText.scopes[item.scope]}{item.subject && `: ${nameOf(item.scope, item.subject)}`}{item.dimension && ` · ${quotaText.dimensions[item.dimension]}`}</Text>}
        {item.was_over && <Text size="xs" c="dimmed">{words.over}</Text>}
      </Table.Td>
      <Table.Td className="right" title={item.had === null ? words.unknown : undefined}>{amount(item.had)}</Table.Td>
      <Table.Td className="right">{amount(item.charged)}</Table.Td>
      <Table.Td className="right" title={item.left === null ? words.unknown : undefined}>{amount(item.left)}</Table.Td>
      <Table.Td className="right" title={item.settled === null ? missing : undefined}>{amount(item.settled)}</Table.Td>
      <Table.Td className={(item.came_back ?? 0) > 0 ? "right good" : "right"} title={item.came_back === null ? missing : undefined}>{amount(item.came_back)}</Table.Td>
    </Table.Tr>
  );
}
