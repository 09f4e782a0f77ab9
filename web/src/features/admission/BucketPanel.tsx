import { Anchor, Badge, Divider, Drawer, Group, Progress, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { BucketStatus, Refusal, Scope, TokenTransaction } from "../../api/admission";
import { read } from "../../api/client";
import type { Page } from "../../api/types";
import { useScene } from "../../app/context";
import { count, moment, percent } from "../../app/format";
import { Copyable, List } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { COLORS } from "./colors";
import { HourChart } from "./HourChart";
import { limitText as words } from "./limitText";
import { quotaText } from "./quotaText";
import { RefusalList } from "./Refusals";
import { unitsOf } from "./units";

const EVERY_MS = 2000;
/** Transactions whose reference is a hold. */
const OF_HOLDS = new Set(["charge", "settle", "release", "reap"]);

/** One bucket: how it stands, who is refused by it, and what the last transactions did to it. */
export function BucketPanel({ item, refusals, nameOf, onClose }: { item: BucketStatus | null; refusals: Refusal[]; nameOf: (scope: Scope, subject: string) => string; onClose: () => void }) {
  return (
    <Drawer opened={item !== null} onClose={onClose} position="right" size="lg" title={item ? `${words.bucket}: ${item.limit}` : ""} closeButtonProps={{ "aria-label": text.close }}>
      {item && (
        <Stack gap="sm">
          <Text size="sm" c="dimmed" style={{ overflowWrap: "anywhere" }}>{quotaText.scopes[item.scope]}{item.subject && `: ${nameOf(item.scope, item.subject)}`} · {quotaText.methods[item.method]}</Text>
          <Group gap="xs"><Text className="figure" fw={600} size="lg">{words.of(unitsOf(item.available, item.dimension, item.scale, false), unitsOf(item.capacity, item.dimension, item.scale))}</Text><Badge variant="dot" size="sm" tt="none" miw="max-content" color={COLORS[item.status]}>{words.state[item.status]}</Badge></Group>
          <Progress value={item.fill * 100} color={COLORS[item.status]} aria-label={words.fill(item.limit, percent(item.fill))} />
          <Text size="sm">{words.held}: <Text span className="figure">{unitsOf(item.held, item.dimension, item.scale)}</Text> <Text span size="xs" c="dimmed">{words.heldLead}</Text></Text>
          {item.share && <Text size="sm" data-share>{words.share(unitsOf(item.share.per_second, item.dimension, item.scale, false))}. <Text span size="xs" c="dimmed">{words.shareLead(unitsOf(item.share.guaranteed_per_second, item.dimension, item.scale))}</Text></Text>}
          <Copyable value={item.bucket} />
          <HourChart item={item} />
          {refusals.length > 0 && <><Divider label={words.refusals} labelPosition="left" /><RefusalList items={refusals} nameOf={nameOf} /></>}
          <Divider label={words.transactions} labelPosition="left" />
          <Transactions item={item} />
        </Stack>
      )}
    </Drawer>
  );
}

function Transactions({ item }: { item: BucketStatus }) {
  const { organization, zone, go } = useScene();
  const query = useQuery({
    queryKey: ["transactions", organization, item.bucket], refetchInterval: EVERY_MS,
    queryFn: ({ signal }) => read<Page<TokenTransaction>>("/api/admission/token-transactions", { bucket: item.bucket, limit: "50" }, signal),
  });
  if (query.isError && !query.data) return <Problem error={query.error} retry={() => void query.refetch()} />;
  if (query.data && !query.data.items.length) return <Text size="sm" c="dimmed">{words.noTransactions}</Text>;
  const isTaken = item.method === "fixed_window" || item.method === "concurrency";
  const signed = (units: number) => (units > 0 ? "+" : "") + unitsOf(units, item.dimension, item.scale, false);
  return (
    <>
      <Text size="xs" c="dimmed">{words.transactionsLead}{isTaken && ` ${words.levelLead}`}</Text>
      <List name={words.transactions} minWidth={420} isLoading={query.isPending} columns={[words.at, words.kind, { name: words.changed, right: true }, { name: isTaken ? words.takenAfter : words.level, right: true }, words.reference]}>
        {query.data?.items.map((row) => (
          <Table.Tr key={`${row.at} ${row.sequence} ${row.leg}`} data-transaction={row.kind}>
            <Table.Td style={{ whiteSpace: "nowrap" }}>{moment(row.occurred_at, zone)}</Table.Td>
            <Table.Td>{words.transaction[row.kind] ?? row.kind}</Table.Td>
            <Table.Td className="right">{signed(row.changed + row.adjusted)}</Table.Td>
            <Table.Td className="right" title={count(row.level)}>{unitsOf(row.level, item.dimension, item.scale, false)}</Table.Td>
            <Table.Td className="cut" title={row.reference}>{row.reference && OF_HOLDS.has(row.kind) ? <Anchor component="button" type="button" size="sm" onClick={() => go({ hold: row.reference, q: undefined })}>{row.reference}</Anchor> : row.reference || "–"}</Table.Td>
          </Table.Tr>
        ))}
      </List>
    </>
  );
}
