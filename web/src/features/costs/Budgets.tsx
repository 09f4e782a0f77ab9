import { Anchor, Button, Group, Stack, Switch, Table, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { read } from "../../api/client";
import type { Page } from "../../api/types";
import { useScene } from "../../app/context";
import { instant, money, percent } from "../../app/format";
import { Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";
import { Bar, StateBadge } from "./Bar";
import { BudgetForm } from "./BudgetForm";
import type { Budget, BudgetStanding } from "./types";
import { words } from "./words";

const exampleOf = (url: string) => `curl ${url}/api/costs/budgets -H "Authorization: Bearer $NEXUS_ACCESS_KEY" \\
  -H "Content-Type: application/json" -d '{"name": "monthly", "amount": "500",
  "period": "month", "pauses": true, "reason": "agreed for this year"}'`;

/** Whose budget it is, in words. */
export function whoseOf({ scope, subject }: Budget): string {
  if (scope === "organization") return words.whole;
  const name = words.scopes[scope] ?? scope;
  return subject === null ? words.each(name) : scope === "tag" && !subject.includes("=") ? words.each(subject) : `${name} ${subject}`;
}

/** All budgets and how they stand. */
export function Budgets() {
  const { organization, zone, go, may } = useScene();
  const client = useQueryClient();
  const [isAdding, setAdding] = useState(false);
  const [withInactive, setInactive] = useState(false);
  const query = useQuery({
    queryKey: ["costs", organization, "budgets", withInactive], refetchInterval: 15_000,
    queryFn: ({ signal }) => read<Page<BudgetStanding>>("/api/costs/budgets", { limit: "200", inactive: withInactive ? "true" : undefined }, signal),
  });
  const items = query.data?.items ?? [];
  const adding = may("budget:write") && <Button size="xs" onClick={() => setAdding(true)}>{words.add}</Button>;
  return (
    <Stack gap="sm">
      <Heading title={words.budgets}>
        <Switch size="xs" label={words.inactive} checked={withInactive} onChange={(event) => setInactive(event.currentTarget.checked)} />
        {items.length > 0 && adding}
      </Heading>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !items.length ? (
        <Teach title={words.emptyTitle}>
          {words.emptyLead}
          <Group my="sm">{adding}</Group>
          {words.emptyApi}
          <Snippet code={exampleOf(window.location.origin)} />
        </Teach>
      ) : (
        <>
          <Text size="sm" c="dimmed">{words.lead}</Text>
          <Panel>
            <List name={words.budgets} minWidth={680} isLoading={query.isPending} columns={[words.name, words.whose, words.spend, { name: words.left, right: true }, words.ends, words.state]}>
              {items.map((item) => {
                const { budget, standing } = item;
                return (
                  <Table.Tr key={budget.id} data-budget={budget.name}>
                    <Table.Td><Anchor size="sm" fw={600} href={`/budgets/${budget.id}`} onClick={(event) => { event.preventDefault(); go({}, `/budgets/${budget.id}`); }}>{budget.name}</Anchor><Text size="xs" c="dimmed">{budget.pauses ? words.pauses : words.soft}</Text></Table.Td>
                    <Table.Td style={{ overflowWrap: "anywhere", maxWidth: 220 }}>{whoseOf(budget)}{standing.subject !== null && <Text size="xs" c="dimmed">{words.mostOf(standing.subject, item.subjects)}</Text>}</Table.Td>
                    <Table.Td style={{ minWidth: 200 }}>
                      <Group justify="space-between" gap={6} wrap="nowrap"><Text size="sm">{money(standing.spent, budget.currency)} <Text span size="xs" c="dimmed">/ {money(budget.amount, budget.currency)}</Text></Text><Text size="xs" c="dimmed">{percent(standing.fraction)}</Text></Group>
                      <Bar budget={budget} standing={standing} />
                    </Table.Td>
                    <Table.Td className="right">{Number(standing.over) > 0 ? <Text size="sm" className="bad">−{money(standing.over, budget.currency)}</Text> : money(standing.left, budget.currency)}</Table.Td>
                    <Table.Td style={{ whiteSpace: "nowrap" }}>{instant(item.period_ends_at, zone).slice(0, -3)}</Table.Td>
                    <Table.Td><StateBadge state={standing.state} /></Table.Td>
                  </Table.Tr>
                );
              })}
            </List>
          </Panel>
          {query.data?.next_cursor && <Text size="xs" c="dimmed">{text.more}</Text>}
        </>
      )}
      {isAdding && <BudgetForm budget={null} onClose={() => setAdding(false)} onDone={() => { setAdding(false); void client.invalidateQueries({ queryKey: ["costs"] }); }} />}
    </Stack>
  );
}
