import { Anchor, Breadcrumbs, Button, Select, SimpleGrid, Skeleton, Stack, Table, Text } from "@mantine/core";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { lazy, Suspense, useMemo, useState } from "react";
import { read } from "../../api/client";
import type { Page } from "../../api/types";
import { useScene } from "../../app/context";
import { count, instant, money, moment, percent } from "../../app/format";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { DIMENSIONS } from "../../app/range";
import { dimensionName, text } from "../../app/text";
import { colorOf } from "../metering/colors";
import { plainOf, useNames } from "../metering/names";
import { Bar, StateBadge } from "./Bar";
import { BudgetForm } from "./BudgetForm";
import { whoseOf } from "./Budgets";
import { linesOf } from "./spendLines";
import type { Breakdown, BudgetDetail, BudgetEvent } from "./types";
import { words } from "./words";

const Chart = lazy(() => import("../metering/Chart"));

/** One budget: its spend over the period with what it will come to, who spends it, what happened. */
export function BudgetPage() {
  const { view, organization, zone, go, may } = useScene();
  const client = useQueryClient();
  const id = useParams({ strict: false, select: (params: { budget?: string }) => params.budget ?? "" });
  const [isEditing, setEditing] = useState(false);
  const by = view.by ?? "model";
  const asked = { at: view.at, subject: view.q };
  const query = useQuery({ queryKey: ["costs", organization, "budget", id, asked], refetchInterval: 15_000, placeholderData: keepPreviousData, queryFn: ({ signal }) => read<BudgetDetail>(`/api/costs/budgets/${encodeURIComponent(id)}`, asked, signal) });
  const spenders = useQuery({ queryKey: ["costs", organization, "breakdown", id, by, asked], placeholderData: keepPreviousData, queryFn: ({ signal }) => read<Breakdown>(`/api/costs/budgets/${encodeURIComponent(id)}/breakdown`, { by, ...asked }, signal) });
  const events = useQuery({ queryKey: ["costs", organization, "events", id], refetchInterval: 15_000, queryFn: ({ signal }) => read<Page<BudgetEvent>>(`/api/costs/budgets/${encodeURIComponent(id)}/events`, {}, signal) });
  const nameOf = useNames();
  const drawn = useMemo(() => (query.data ? linesOf(query.data) : null), [query.data]);
  const currency = query.data?.budget.currency ?? "USD";
  const format = useMemo(() => (value: number | null) => (value == null ? "–" : money(value.toFixed(9), currency)), [currency]);
  const trail = (
    <Breadcrumbs separator="›" aria-label={words.trail} component="nav">
      <Anchor size="sm" href="/budgets" onClick={(event) => { event.preventDefault(); go({ at: undefined, q: undefined }, "/budgets"); }}>{words.budgets}</Anchor>
      <Text size="sm" c="dimmed">{query.data?.budget.name ?? text.details}</Text>
    </Breadcrumbs>
  );
  if (query.isError) return <Stack gap="sm">{trail}<Heading title={words.budgets} /><Problem error={query.error} retry={() => void query.refetch()} /></Stack>;
  if (!query.data || !drawn) return <Stack gap="sm">{trail}<Skeleton h={64} /><Skeleton h={190} /><Skeleton h={180} /></Stack>;
  const { budget, standing, forecast } = query.data;
  const shown = (at: string) => instant(at, zone).slice(0, -3);
  const isNow = Date.parse(query.data.as_of) < Date.parse(query.data.period_ends_at);
  const figures: [string, string, string?][] = [
    [words.spent, money(standing.spent, currency), `${percent(standing.fraction)} / ${money(budget.amount, currency)}`],
    ...(standing.held === null ? [] : [[words.held, money(standing.held, currency), words.heldLead] as [string, string, string]]),
    Number(standing.over) > 0 ? [words.over, money(standing.over, currency)] : [words.left, money(standing.left, currency)],
    ...(forecast ? [[words.forecast, money(forecast.period_end, currency), forecast.reason ? words.noForecast(forecast.reason) : words.forecastLead(money(forecast.rate, currency), forecast.steps, query.data.step)] as [string, string, string]] : []),
    ...(standing.unpriced > 0 ? [[words.unpriced, count(standing.unpriced), words.unpricedLead] as [string, string, string]] : []),
    ...Object.entries(standing.unconverted).map(([code, sum]) => [words.unconverted, money(sum, code), words.unconvertedLead] as [string, string, string]),
  ];
  const groups = spenders.data?.groups ?? [];
  return (
    <Stack gap="sm">
      {trail}
      <Heading title={budget.name}>
        <StateBadge state={standing.state} />
        <Button size="compact-xs" variant="default" onClick={() => go({ at: new Date(Date.parse(query.data.period_starts_at) - 1000).toISOString() })}>{words.earlier}</Button>
        {!isNow && <Button size="compact-xs" variant="default" onClick={() => go({ at: Date.parse(query.data.period_ends_at) > Date.now() ? undefined : query.data.period_ends_at })}>{words.later}</Button>}
        {may("budget:write") && <Button size="xs" onClick={() => setEditing(true)}>{words.edit}</Button>}
      </Heading>
      <Text size="sm" c="dimmed">{whoseOf(budget)} · {budget.pauses ? words.pauses : words.soft} · {shown(query.data.period_starts_at)} – {shown(query.data.period_ends_at)}{budget.description && ` · ${budget.description}`}</Text>
      {standing.paused_since && isNow && <Text size="sm" className="bad" role="status">{words.pausedSince(shown(standing.paused_since))}</Text>}
      <Bar budget={budget} standing={standing} />
      <SimpleGrid cols={{ base: 2, sm: Math.min(4, figures.length) }} spacing="sm">
        {figures.map(([label, value, note]) => <Panel key={label + value}><Text size="xs" c="dimmed">{label}</Text><Text fw={700} size="lg">{value}</Text>{note && <Text size="xs" c="dimmed">{note}</Text>}</Panel>)}
      </SimpleGrid>
      {forecast?.reaches_amount_at && <Text size="sm" className="bad">{words.reaches(shown(forecast.reaches_amount_at))}</Text>}
      <Panel title={words.spendChart(budget.period)}>
        <Suspense fallback={<Skeleton h={190} />}><Chart title={words.spendChart(budget.period)} times={drawn.times} lines={drawn.lines} kind="line" zone={budget.zone} step={drawn.step} format={format} onZoom={(from, to) => go({ from: new Date(from).toISOString(), to: new Date(to).toISOString(), range: undefined, at: undefined, q: undefined }, "/costs")} /></Suspense>
      </Panel>
      {query.data.subjects.length > 0 && (
        <Panel title={words.subjects}>
          <List name={words.subjects} minWidth={420} columns={[words.whose, words.spend, { name: words.left, right: true }, words.state]}>
            {query.data.subjects.map((item) => (
              <Table.Tr key={item.subject}>
                <Table.Td><Anchor size="sm" component="button" fw={item.subject === standing.subject ? 700 : undefined} onClick={() => go({ q: item.subject ?? undefined })}>{nameOf(budget.scope, item.subject)}</Anchor></Table.Td>
                <Table.Td style={{ minWidth: 160 }}>{money(item.spent, currency)}<Bar budget={budget} standing={item} /></Table.Td>
                <Table.Td className="right">{money(item.left, currency)}</Table.Td>
                <Table.Td><StateBadge state={item.state} /></Table.Td>
              </Table.Tr>
            ))}
          </List>
        </Panel>
      )}
      <Panel title={words.whoSpends} aside={<Select size="xs" w={150} aria-label={words.by} allowDeselect={false} data={[...new Set([...DIMENSIONS, by])].map((value) => ({ value, label: dimensionName(value) }))} value={by} onChange={(value) => value && go({ by: value })} />}>
        {spenders.isError ? <Problem error={spenders.error} retry={() => void spenders.refetch()} /> : spenders.data && !groups.length ? <Text size="sm" c="dimmed">{spenders.data.reason ?? words.nobody}</Text> : (
          <List name={words.whoSpends} minWidth={420} isLoading={spenders.isPending} isStale={spenders.isPlaceholderData} columns={[dimensionName(by), { name: text.cost, right: true }, { name: words.share, right: true }, { name: text.requests, right: true }]}>
            {groups.map((group) => {
              const name = nameOf(by, group.value);
              const other = Object.entries(group.other).map(([code, sum]) => money(sum, code)).join(", ");
              return (
                <Table.Tr key={plainOf(group.value)}>
                  <Table.Td style={{ overflowWrap: "anywhere" }}><span aria-hidden className="swatch" style={{ background: colorOf(name) }} />{name}</Table.Td>
                  <Table.Td className="right">{group.unpriced === group.requests ? "–" : money(group.cost, currency)}{group.unpriced > 0 && <Text size="xs" c="dimmed">{text.unpriced(count(group.unpriced))}</Text>}{other && <Text size="xs" c="dimmed">+ {other}</Text>}</Table.Td>
                  <Table.Td className="right">{Number(standing.spent) > 0 ? percent(Number(group.cost) / Number(standing.spent)) : "–"}</Table.Td>
                  <Table.Td className="right">{count(group.requests)}</Table.Td>
                </Table.Tr>
              );
            })}
          </List>
        )}
      </Panel>
      <Panel title={words.events}>
        {events.isError ? <Problem error={events.error} retry={() => void events.refetch()} /> : events.data && !events.data.items.length ? <Text size="sm" c="dimmed">{words.noEvents}</Text> : (
          <List name={words.events} minWidth={420} isLoading={events.isPending} columns={[words.at, words.what, { name: words.spent, right: true }, { name: words.amount, right: true }]}>
            {(events.data?.items ?? []).map((event) => (
              <Table.Tr key={event.id}>
                <Table.Td>{moment(event.occurred_at, zone)}</Table.Td>
                <Table.Td>{event.kind === "paused" ? words.paused : words.crossed(percent(event.threshold))}{event.subject && ` · ${event.subject}`}</Table.Td>
                <Table.Td className="right">{money(event.spent, event.currency)}</Table.Td>
                <Table.Td className="right">{money(event.amount, event.currency)}</Table.Td>
              </Table.Tr>
            ))}
          </List>
        )}
      </Panel>
      <Text size="xs" c="dimmed">{words.saidBy(budget.author, budget.reason)}</Text>
      {isEditing && <BudgetForm budget={budget} onClose={() => setEditing(false)} onDone={() => { setEditing(false); void client.invalidateQueries({ queryKey: ["costs"] }); }} />}
    </Stack>
  );
}
