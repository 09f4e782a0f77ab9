import { Anchor, Group, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { read, send } from "../../api/client";
import type { Call, CostSum, Price } from "../../api/types";
import { useScene } from "../../app/context";
import { compact, count, instant } from "../../app/format";
import { List } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { gatewayOf } from "./timing";

/** An exact decimal as it is: nothing rounded away, with its currency. */
const exact = (amount: string | null, currency: string) => (amount === null ? "–" : `${amount}\u202f${currency}`);

/** How a call's cost is made, line by line, and of which version of which price. */
export function CallCost({ call }: { call: Call }) {
  const { may } = useScene();
  const usage = { ...call.tokens, ...call.units };
  const isByBook = call.price_source === "book" && call.price_id !== null && may("catalog:read");
  const sum = useQuery({
    enabled: isByBook,
    staleTime: Infinity,
    queryKey: ["sum", call.price_id, usage, call.status_code],
    queryFn: () => send<CostSum>(`/api/catalog/prices/${call.price_id}/sum`, {
      usage, is_failure: call.status_code >= 400 || call.status_code === 0,
    }),
  });
  if (call.refused_by !== null) return <Text size="sm">{text.neverSent}</Text>;
  if (call.unpriced_reason) return <Text size="sm">{text.noPrice}: {call.unpriced_reason}</Text>;
  if (!isByBook) return <Text size="sm">{exact(call.cost, call.currency)}. {call.price_source === "book" ? text.priceHidden : text.given}</Text>;
  if (sum.isError) return <Problem error={sum.error} retry={() => void sum.refetch()} />;
  return (
    <>
      <List name={text.made} minWidth={300} isLoading={!sum.data} columns={[text.unit, { name: text.quantity, right: true }, { name: text.rate, right: true }, { name: text.amount, right: true }]}>
        {sum.data?.lines.map((line) => (
          <Table.Tr key={line.unit}>
            <Table.Td>{line.unit}</Table.Td>
            <Table.Td className="right">{count(line.count)}</Table.Td>
            <Table.Td className="right">{line.amount}{line.per === 1 ? "" : ` / ${compact(line.per)}`}</Table.Td>
            <Table.Td className="right">{line.cost}</Table.Td>
          </Table.Tr>
        ))}
        {sum.data && (
          <Table.Tr>
            <Table.Th scope="row" colSpan={3}>{text.total}</Table.Th>
            <Table.Td className="right" data-total fw={600}>{exact(call.cost, call.currency)}</Table.Td>
          </Table.Tr>
        )}
      </List>
      {gatewayOf(call)?.usage === "estimated" && <Text size="xs">{text.estimatedLead}</Text>}
      <Version id={call.price_id as string} />
      {sum.data && Number(sum.data.cost) !== Number(call.cost) && <Text size="xs">{text.otherPrices}</Text>}
    </>
  );
}

/** Which price was applied: whose, from when to when, and where it comes from. */
function Version({ id }: { id: string }) {
  const { zone, go } = useScene();
  const price = useQuery({ staleTime: Infinity, queryKey: ["price", id], queryFn: () => read<Price>(`/api/catalog/prices/${id}`) });
  const found = price.data;
  if (!found) return <Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{text.priceOf} {id}</Text>;
  const where = { provider: found.provider, model: found.model ?? undefined };
  const spans = `${found.valid_from ? text.inForceSince(instant(found.valid_from, zone)) : text.inForceAlways}${found.valid_to ? `, ${text.until} ${instant(found.valid_to, zone)}` : ""}`;
  return (
    <Group gap={6}>
      <Text size="xs" c="dimmed" data-price>
        {text.priceOf} {found.provider} {found.model ?? found.endpoint ?? ""}, {spans}; {text.source.toLowerCase()} {found.source}, {found.is_shared ? text.shared : text.own}
        {found.superseded_at && `, ${text.superseded} ${instant(found.superseded_at, zone)}`}
      </Text>
      <Anchor size="xs" href={`/prices?provider=${encodeURIComponent(found.provider)}`} onClick={(event) => { event.preventDefault(); go(where, "/prices"); }}>{text.prices}</Anchor>
    </Group>
  );
}
