import { Alert, Divider, Drawer, Group, Stack, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { send } from "../../api/client";
import type { Call, CostSum } from "../../api/types";
import { useScene } from "../../app/context";
import { compact, count, duration, instant, size } from "../../app/format";
import { Copyable, List } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { plainOf, useNames } from "./names";

const FIRST = new Set(["id", "timestamp", "provider", "model", "endpoint", "method", "status_code", "response_time_ms", "cost", "currency", "error_type", "error_message", "unpriced_reason", "price_id", "price_source", "priced", "tokens", "units"]);

/** All of one call, and the sum that made its cost. */
export function CallPanel({ call, onClose }: { call: Call | null; onClose: () => void }) {
  const { zone } = useScene();
  const nameOf = useNames();
  return (
    <Drawer opened={call !== null} onClose={onClose} position="right" title={text.details} size="lg" closeButtonProps={{ "aria-label": text.close }}>
      {call && (
        <Stack gap="sm">
          <div>
            <Title order={2} size="h4" style={{ overflowWrap: "anywhere" }}>{[call.method, call.endpoint].filter(Boolean).join(" ") || call.model || call.provider}</Title>
            <Text size="sm" c="dimmed">{call.provider}{call.model ? ` · ${call.model}` : ""} · {instant(call.timestamp, zone)} · {duration(call.response_time_ms)} · <span className={call.status_code >= 400 || !call.status_code ? "bad" : undefined}>{call.status_code}</span></Text>
          </div>
          <Copyable value={call.id} />
          {(call.error_type || call.error_message) && <Alert color="red" variant="light" title={call.error_type ?? text.message}><Text size="sm" style={{ overflowWrap: "anywhere" }}>{call.error_message}</Text></Alert>}
          <Divider label={text.made} labelPosition="left" />
          <Sum call={call} />
          <Divider label={text.fields} labelPosition="left" />
          <Table layout="fixed" verticalSpacing={4} aria-label={text.fields}>
            <Table.Tbody>
              {Object.entries(call).filter(([name, value]) => !FIRST.has(name) && value !== null && value !== "" && value !== 0).map(([name, value]) => (
                <Table.Tr key={name}>
                  <Table.Th scope="row" w="36%" style={{ fontWeight: 500 }}>{text.field[name] ?? name}</Table.Th>
                  <Table.Td style={{ overflowWrap: "anywhere" }}>{name === "key" ? nameOf("key", value) : name.endsWith("_at") ? instant(plainOf(value), zone) : name.endsWith("_ms") ? duration(Number(value)) : name.endsWith("_bytes") ? size(Number(value)) : typeof value === "object" ? <Pairs value={value as Record<string, unknown>} /> : plainOf(value)}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Stack>
      )}
    </Drawer>
  );
}

function Pairs({ value }: { value: Record<string, unknown> }) {
  return <Group gap={6}>{Object.entries(value).map(([name, item]) => <span key={name}>{name}: {typeof item === "object" ? JSON.stringify(item) : plainOf(item)}</span>)}</Group>;
}

/** An exact decimal as it is: nothing rounded away, with its currency. */
const exact = (amount: string | null, currency: string) => (amount === null ? "–" : `${amount}\u202f${currency}`);

function Sum({ call }: { call: Call }) {
  const usage = { ...call.tokens, ...call.units };
  const isByBook = call.price_source === "book" && call.price_id !== null;
  const sum = useQuery({
    enabled: isByBook,
    staleTime: Infinity,
    queryKey: ["sum", call.price_id, usage, call.status_code],
    queryFn: () => send<CostSum>(`/api/catalog/prices/${call.price_id}/sum`, {
      usage, is_failure: call.status_code >= 400 || call.status_code === 0,
    }),
  });
  if (call.unpriced_reason) return <Text size="sm">{text.noPrice}: {call.unpriced_reason}</Text>;
  if (!isByBook) return <Text size="sm">{exact(call.cost, call.currency)}. {text.given}</Text>;
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
      <Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{text.priceOf} {call.price_id}</Text>
      {sum.data && Number(sum.data.cost) !== Number(call.cost) && <Text size="xs">{text.otherPrices}</Text>}
    </>
  );
}
