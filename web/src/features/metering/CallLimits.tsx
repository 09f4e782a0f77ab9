import { Anchor, Table, Text } from "@mantine/core";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { count, duration } from "../../app/format";
import { List, Panel } from "../../app/parts";
import { amountOf, limitsOf, type Decided, type LimitMark } from "./callLimits";
import { callLimitText as words } from "./callLimitText";

/** What was decided of a call: the limits it met, what each had, charged, and got back. Nothing where none was asked. */
export function CallLimits({ call }: { call: Call }) {
  const found = limitsOf(call);
  if (!found) return null;
  return (
    <Panel title={words.title}>
      <Text size="xs" c="dimmed" mb={4}>{found.refusal ? words.refusedLead : words.lead} {found.by && words.by[found.by]}</Text>
      {found.refusal ? <Refused found={found} /> : <Made marks={found.marks} />}
    </Panel>
  );
}

function Made({ marks }: { marks: LimitMark[] }) {
  return (
    <List name={words.title} minWidth={600} columns={[words.limit, { name: words.had, right: true }, { name: words.charged, right: true }, { name: words.settled, right: true }, { name: words.back, right: true }, { name: words.left, right: true }]}>
      {marks.map((mark) => {
        const back = mark.charged - mark.settled;
        return (
          <Table.Tr key={mark.bucket} data-limit={mark.limit}>
            <Table.Td><Name mark={mark} /></Table.Td>
            <Table.Td className="right" title={mark.left === null ? words.notKnown : undefined}>{mark.left === null ? "–" : amountOf(mark.left + mark.charged, mark.unit)}</Table.Td>
            <Table.Td className="right">{amountOf(mark.charged, mark.unit)}</Table.Td>
            <Table.Td className="right">{amountOf(mark.settled, mark.unit)}</Table.Td>
            <Table.Td className={back > 0 ? "right good" : "right"}>{amountOf(back, mark.unit)}</Table.Td>
            <Table.Td className="right" title={mark.left === null ? words.notKnown : undefined}>{mark.left === null ? "–" : amountOf(mark.left, mark.unit)}</Table.Td>
          </Table.Tr>
        );
      })}
    </List>
  );
}

/** A call that was refused: what it asked of each limit, and which said no. */
function Refused({ found: { marks, refusal } }: { found: Decided }) {
  const { go, may } = useScene();
  if (!refusal) return null;
  return (
    <>
      <List name={words.title} minWidth={300} columns={[words.limit, { name: words.had, right: true }, { name: words.asked, right: true }, words.said]}>
        {marks.map((mark) => (
          <Table.Tr key={mark.bucket} data-limit={mark.limit}>
            <Table.Td><Name mark={mark} /></Table.Td>
            <Table.Td className="right" title={mark.left === null ? words.notKnown : undefined}>{mark.left === null ? "–" : amountOf(mark.left, mark.unit)}</Table.Td>
            <Table.Td className="right">{mark.asked === null ? "–" : amountOf(mark.asked, mark.unit)}</Table.Td>
            <Table.Td>{mark.bucket === refusal.bucket ? <span className="bad">{words.refuses}</span> : mark.left === null || mark.asked === null ? "–" : mark.left >= mark.asked ? words.allows : words.short}</Table.Td>
          </Table.Tr>
        ))}
      </List>
      <Text size="xs" mt={6}>
        {refusal.outcome === "refused" ? refusal.retryMs !== null && words.retry(duration(refusal.retryMs)) : words[refusal.outcome]}
        {refusal.unrecorded > 0 && ` ${words.unrecorded(count(refusal.unrecorded))}`}
        {may("quota:read") && <> <Anchor component="button" type="button" size="xs" onClick={() => go({ tab: "refusing", at: undefined }, "/limits")}>{words.allRefusals}</Anchor></>}
      </Text>
    </>
  );
}

function Name({ mark }: { mark: LimitMark }) {
  const { go, may } = useScene();
  return (
    <>
      {may("quota:read") ? <Anchor component="button" type="button" size="sm" fw={600} onClick={() => go({ q: mark.bucket, at: undefined }, "/limits")}>{mark.limit}</Anchor> : <Text size="sm" fw={600}>{mark.limit}</Text>}
      <Text size="xs" c="dimmed">{words.scope[mark.scope] ?? mark.scope} · {words.unit[mark.dimension] ?? mark.dimension}{mark.wouldRefuse && ` · ${words.watching}`}</Text>
    </>
  );
}
