import { Badge, Table, Text } from "@mantine/core";
import type { LimitChange, LimitSpec } from "../../api/admission";
import { List } from "../../app/parts";
import { text } from "../../app/text";
import { inWords } from "./inWords";
import { quotaText as words } from "./quotaText";

const COLORS = { added: "teal", removed: "red", changed: "blue" } as const;
const valueOf = (value: string | number | boolean | undefined): string => (value === undefined ? words.unset : typeof value === "boolean" ? (value ? words.yes : words.no) : String(value));

/** What differs between two versions, limit by limit and field by field. */
export function Difference({ changes, name }: { changes: LimitChange[]; name: string }) {
  if (!changes.length) return <Text size="sm" c="dimmed" role="status">{words.same}</Text>;
  return (
    <List name={name} minWidth={420} columns={[words.limits, words.field, text.before, text.after]}>
      {changes.flatMap((change) => {
        const whole = change.change !== "changed";
        const fields = whole ? [""] : [...new Set([...Object.keys(change.before), ...Object.keys(change.after)])] as (keyof LimitSpec)[];
        return fields.map((field, line) => (
          <Table.Tr key={`${change.limit} ${field}`} data-change={change.limit}>
            <Table.Td>{line === 0 && <><Text size="sm" fw={600}>{change.limit}</Text><Badge size="sm" variant="dot" tt="none" color={COLORS[change.change]}>{words[change.change]}</Badge></>}</Table.Td>
            <Table.Td>{field ? words.fieldName[field] : ""}</Table.Td>
            <Table.Td className={change.change === "added" ? undefined : "bad"}>{whole ? (change.change === "removed" ? inWords(change.before as LimitSpec) : "–") : valueOf(change.before[field as keyof LimitSpec])}</Table.Td>
            <Table.Td className={change.change === "removed" ? undefined : "good"}>{whole ? (change.change === "added" ? inWords(change.after as LimitSpec) : "–") : valueOf(change.after[field as keyof LimitSpec])}</Table.Td>
          </Table.Tr>
        ));
      })}
    </List>
  );
}
