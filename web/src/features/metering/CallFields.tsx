import { Group, Table } from "@mantine/core";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { duration, instant, size } from "../../app/format";
import { text } from "../../app/text";
import { plainOf, useNames } from "./names";

const ELSEWHERE = new Set(["refused_by", "id", "timestamp", "provider", "model", "endpoint", "method", "status_code", "response_time_ms", "cost", "currency", "error_type", "error_message", "unpriced_reason", "price_id", "price_source", "priced", "tokens", "units", "attempts"]);

/** What is known of a call beside its head and its cost. */
export function CallFields({ call }: { call: Call }) {
  const { zone } = useScene();
  const nameOf = useNames();
  const shown = (name: string, value: unknown) => {
    if (name === "key") return nameOf("key", value);
    if (name.endsWith("_at")) return instant(plainOf(value), zone);
    if (name.endsWith("_ms")) return duration(Number(value));
    if (name.endsWith("_bytes")) return size(Number(value));
    return typeof value === "object" ? <Pairs value={value as Record<string, unknown>} /> : plainOf(value);
  };
  return (
    <Table layout="fixed" verticalSpacing={4} aria-label={text.fields}>
      <Table.Tbody>
        {Object.entries(call).filter(([name, value]) => !ELSEWHERE.has(name) && value !== null && value !== "" && value !== 0).map(([name, value]) => (
          <Table.Tr key={name}>
            <Table.Th scope="row" w="36%" style={{ fontWeight: 500 }}>{text.field[name] ?? name}</Table.Th>
            <Table.Td style={{ overflowWrap: "anywhere" }}>{shown(name, value)}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

function Pairs({ value }: { value: Record<string, unknown> }) {
  return <Group gap={6}>{Object.entries(value).map(([name, item]) => <span key={name}>{name}: {typeof item === "object" ? JSON.stringify(item) : plainOf(item)}</span>)}</Group>;
}
