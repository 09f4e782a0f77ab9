import { Anchor, Table, Text } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import type { Refusal, Scope } from "../../api/admission";
import { useScene } from "../../app/context";
import { count, duration, moment } from "../../app/format";
import { List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { limitText as words } from "./limitText";
import { quotaText } from "./quotaText";

type NameOf = (scope: Scope, subject: string) => string;

/** When to try again, as the refused were last told. */
const againOf = (item: Refusal): string => (item.kind === "shadow" ? words.notRefused : item.retry_after_ms === null ? words.never : words.afterwards(duration(item.retry_after_ms)));

/** Who was refused in the range, by which limit, why, how often and until when. */
export function Refusals({ query, nameOf }: { query: UseQueryResult<Refusal[]>; nameOf: NameOf }) {
  return (
    <Panel title={words.refusals}>
      <Text size="xs" c="dimmed" mb={4}>{words.refusalsLead}</Text>
      {query.isError && !query.data ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !query.data.length ? <Text size="sm">{words.noRefusals}</Text> : <RefusalList items={query.data ?? []} isLoading={query.isPending} nameOf={nameOf} />}
    </Panel>
  );
}

export function RefusalList({ items, isLoading, nameOf }: { items: Refusal[]; isLoading?: boolean; nameOf: NameOf }) {
  const { zone, go } = useScene();
  return (
    <List name={words.refusals} minWidth={640} isLoading={isLoading} columns={[words.limit, words.who, words.why, { name: words.calls, right: true }, words.again, words.last]}>
      {items.map((item) => (
        <Table.Tr key={`${item.bucket} ${item.kind} ${item.key_id} ${item.application}`} data-refusal={item.limit}>
          <Table.Td>
            <Anchor component="button" type="button" size="sm" fw={600} onClick={() => go({ q: item.bucket })}>{item.limit}</Anchor>
            <Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{quotaText.scopes[item.scope]}{item.subject && `: ${nameOf(item.scope, item.subject)}`}</Text>
          </Table.Td>
          <Table.Td style={{ overflowWrap: "anywhere" }}>{item.bucket.endsWith(":") ? words.others : item.key_id ? nameOf("key", item.key_id) : words.noKey}{item.application && <Text size="xs" c="dimmed">{item.application}</Text>}</Table.Td>
          <Table.Td>{words.kinds[item.kind]}<Text size="xs" c="dimmed">{quotaText.dimensions[item.dimension]}</Text></Table.Td>
          <Table.Td className="right">{count(item.calls)}</Table.Td>
          <Table.Td>{againOf(item)}</Table.Td>
          <Table.Td style={{ whiteSpace: "nowrap" }}>{moment(item.last_at, zone)}</Table.Td>
        </Table.Tr>
      ))}
    </List>
  );
}
