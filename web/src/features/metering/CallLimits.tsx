import { Anchor, Table, Text } from "@mantine/core";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { List, Panel } from "../../app/parts";
import { amountOf, limitsOf } from "./callLimits";
import { callLimitText as words } from "./callLimitText";

/** What was decided of a call: the limits it met, what each had, charged, and got back. Nothing where none was asked. */
export function CallLimits({ call }: { call: Call }) {
  const { go, may } = useScene();
  const found = limitsOf(call);
  if (!found) return null;
  return (
    <Panel title={words.title}>
      <Text size="xs" c="dimmed" mb={4}>{found.isWithoutRedis ? words.withoutRedis : words.lead}</Text>
      <List name={words.title} minWidth={600} columns={[words.limit, { name: words.had, right: true }, { name: words.charged, right: true }, { name: words.settled, right: true }, { name: words.back, right: true }, { name: words.left, right: true }]}>
        {found.marks.map((mark) => {
          const back = mark.charged - mark.settled;
          return (
            <Table.Tr key={mark.bucket} data-limit={mark.limit}>
              <Table.Td>
                {may("quota:read") ? <Anchor component="button" type="button" size="sm" fw={600} onClick={() => go({ q: mark.bucket, at: undefined }, "/limits")}>{mark.limit}</Anchor> : <Text size="sm" fw={600}>{mark.limit}</Text>}
                <Text size="xs" c="dimmed">{words.scope[mark.scope] ?? mark.scope} · {words.unit[mark.dimension] ?? mark.dimension}{mark.wouldRefuse && ` · ${words.watching}`}</Text>
              </Table.Td>
              <Table.Td className="right" title={mark.left === null ? words.notKnown : undefined}>{mark.left === null ? "–" : amountOf(mark.left + mark.charged, mark.unit)}</Table.Td>
              <Table.Td className="right">{amountOf(mark.charged, mark.unit)}</Table.Td>
              <Table.Td className="right">{amountOf(mark.settled, mark.unit)}</Table.Td>
              <Table.Td className={back > 0 ? "right good" : "right"}>{amountOf(back, mark.unit)}</Table.Td>
              <Table.Td className="right" title={mark.left === null ? words.notKnown : undefined}>{mark.left === null ? "–" : amountOf(mark.left, mark.unit)}</Table.Td>
            </Table.Tr>
          );
        })}
      </List>
    </Panel>
  );
}
