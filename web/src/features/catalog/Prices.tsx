import { Badge, Button, Checkbox, Code, Group, Modal, Stack, Table, Tabs, Text, TextInput } from "@mantine/core";
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { read, send } from "../../api/client";
import type { Import, Page, Price, PriceComponent, PriceConflict } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count, instant } from "../../app/format";
import { Confirm, Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { instantOf, rfc } from "../../app/range";
import { text } from "../../app/text";
import { ImportList } from "./ImportList";

const spell = (parts: PriceComponent[]) =>
  parts.map((part) => `${part.unit} ${part.amount}${part.per === 1 ? "" : `/${part.per >= 1_000_000 ? `${part.per / 1_000_000}M` : part.per >= 1000 ? `${part.per / 1000}k` : part.per}`}${part.context_above ? ` >${count(part.context_above)}` : ""}`).join(", ");

/** What calls are priced by: the book with its history, where sources disagree, and what was imported. */
export function Prices() {
  const { view, go } = useScene();
  return (
    <Stack gap="sm">
      <Heading title={text.prices} />
      <Tabs value={view.tab ?? "book"} onChange={(tab) => go({ tab: tab === "book" ? undefined : (tab ?? undefined) })} keepMounted={false}>
        <Tabs.List mb="sm"><Tabs.Tab value="book">{text.book}</Tabs.Tab><Tabs.Tab value="conflicts">{text.conflicts}</Tabs.Tab><Tabs.Tab value="imports">{text.imports}</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="book"><Book /></Tabs.Panel>
        <Tabs.Panel value="conflicts"><Conflicts /></Tabs.Panel>
        <Tabs.Panel value="imports"><Imports /></Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function Book() {
  const { view, organization, zone, go, may } = useScene();
  const client = useQueryClient();
  const [provider, setProvider] = useState(view.provider ?? "");
  const [model, setModel] = useState(view.model ?? "");
  const [withHistory, setHistory] = useState(false);
  const [isAdding, setAdding] = useState(false);
  const [ended, setEnded] = useState<Price | null>(null);
  const query = useInfiniteQuery({
    queryKey: ["prices", organization, view.provider, view.model, withHistory],
    queryFn: ({ pageParam, signal }) => read<Page<Price>>("/api/catalog/prices", {
      provider: view.provider, model: view.model, cursor: pageParam, limit: "50", ...(withHistory ? { superseded: "true" } : { at: new Date().toISOString() }),
    }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (known) => known,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const again = () => void client.invalidateQueries({ queryKey: ["prices"] });
  const when = (at: string | null) => (at ? instant(at, zone) : text.alwaysValid);
  return (
    <Stack gap="sm">
      <form onSubmit={(event) => { event.preventDefault(); go({ provider: provider.trim() || undefined, model: model.trim() || undefined }); }}>
        <Group gap="xs" align="end">
          <TextInput size="xs" label={text.providerFilter} value={provider} onChange={(event) => setProvider(event.currentTarget.value)} />
          <TextInput size="xs" label={text.modelFilter} value={model} onChange={(event) => setModel(event.currentTarget.value)} />
          <Button size="xs" variant="default" type="submit">{text.apply}</Button>
          <Checkbox size="xs" mb={6} label={text.history} checked={withHistory} onChange={(event) => setHistory(event.currentTarget.checked)} />
          {may("catalog:write") && <Button size="xs" ml="auto" onClick={() => setAdding(true)}>{text.addPrice}</Button>}
        </Group>
      </form>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? <Text c="dimmed">{text.nothingFound}</Text> : (
        <Panel>
          <List name={text.book} minWidth={900} isLoading={query.isPending} isStale={query.isPlaceholderData} columns={[text.provider, text.model, text.rate, text.validFrom, text.validTo, text.source, ""]}>
            {rows.map((price) => (
              <Table.Tr key={price.id}>
                <Table.Td>{price.provider}</Table.Td>
                <Table.Td>{price.model ?? [price.method, price.endpoint].filter(Boolean).join(" ")}<Text size="xs" c="dimmed">{[price.tier !== "standard" ? price.tier : "", price.region, ...Object.entries(price.variant).map(([name, value]) => `${name}=${value}`), price.daily_from ? `${price.daily_from}–${price.daily_to} UTC` : ""].filter(Boolean).join(", ")}</Text></Table.Td>
                <Table.Td style={{ maxWidth: 360 }}><Text size="xs">{spell(price.components)} {price.currency}</Text></Table.Td>
                <Table.Td>{when(price.valid_from)}</Table.Td>
                <Table.Td>{price.valid_to ? instant(price.valid_to, zone) : "–"}{price.superseded_at && <Text size="xs" c="dimmed">{`✕ ${instant(price.superseded_at, zone)}`}</Text>}</Table.Td>
                <Table.Td>{price.source}<Text size="xs" c="dimmed">{price.is_shared ? text.shared : text.own}</Text></Table.Td>
                <Table.Td>{may("catalog:write") && !price.is_shared && !price.valid_to && !price.superseded_at && <Button size="compact-xs" variant="default" onClick={() => setEnded(price)}>{text.end}</Button>}</Table.Td>
              </Table.Tr>
            ))}
          </List>
          {query.hasNextPage && <Button size="xs" mt="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
        </Panel>
      )}
      {isAdding && <Add onClose={() => setAdding(false)} onDone={() => { setAdding(false); again(); }} />}
      <Confirm opened={ended !== null} title={text.end} lead={`${ended?.provider ?? ""} ${ended?.model ?? ended?.endpoint ?? ""}: ${spell(ended?.components ?? [])}`} onClose={() => setEnded(null)} onDone={again} act={() => send(`/api/catalog/prices/${ended?.id}/end`, {})} />
    </Stack>
  );
}

function Add({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const { zone, view } = useScene();
  const [provider, setProvider] = useState(view.provider ?? "");
  const [model, setModel] = useState(view.model ?? "");
  const [parts, setParts] = useState<PriceComponent[]>([{ unit: "input", amount: "", per: 1_000_000, context_above: 0 }, { unit: "output", amount: "", per: 1_000_000, context_above: 0 }]);
  const [from, setFrom] = useState("");
  const attempt = useAttempt();
  const { fault } = attempt;
  const put = (place: number, change: Partial<PriceComponent>) => setParts(parts.map((part, other) => (other === place ? { ...part, ...change } : part)));
  const submit = async () => {
    await send("/api/catalog/prices", { provider, model: model || undefined, components: parts.filter((part) => part.unit && part.amount), valid_from: from ? rfc(instantOf(from, zone)) : undefined });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={text.addPrice} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="xs">
          <Text size="sm" c="dimmed">{text.addPriceLead}</Text>
          <Group grow><TextInput autoFocus data-autofocus label={text.provider} required value={provider} error={fault?.of("provider")} onChange={(event) => setProvider(event.currentTarget.value)} /><TextInput label={text.model} required value={model} error={fault?.of("model")} onChange={(event) => setModel(event.currentTarget.value)} /></Group>
          {parts.map((part, place) => (
            <Group key={place} grow gap={6}>
              <TextInput size="xs" label={text.unit} value={part.unit} onChange={(event) => put(place, { unit: event.currentTarget.value })} />
              <TextInput size="xs" label={text.amount} inputMode="decimal" value={part.amount} onChange={(event) => put(place, { amount: event.currentTarget.value })} />
              <TextInput size="xs" label={text.per} inputMode="numeric" value={String(part.per)} onChange={(event) => put(place, { per: Number(event.currentTarget.value.replace(/\D/g, "")) || 1 })} />
            </Group>
          ))}
          <div><Button size="compact-xs" variant="default" onClick={() => setParts([...parts, { unit: "", amount: "", per: 1_000_000, context_above: 0 }])}>+ {text.unit}</Button></div>
          <TextInput type="datetime-local" label={`${text.validFrom} (${zone})`} value={from} error={fault?.of("valid_from")} onChange={(event) => setFrom(event.currentTarget.value)} />
          {fault && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.save}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Conflicts() {
  const { organization, zone, may } = useScene();
  const query = useInfiniteQuery({
    queryKey: ["conflicts", organization],
    queryFn: ({ pageParam, signal }) => read<Page<PriceConflict>>("/api/catalog/price-conflicts", { cursor: pageParam }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const [decided, setDecided] = useState<{ conflict: PriceConflict; take: boolean } | null>(null);
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  if (query.data && !rows.length) return <Teach title={text.noConflicts}>{text.noConflictsLead}</Teach>;
  return (
    <Panel>
      <List name={text.conflicts} minWidth={820} isLoading={query.isPending} columns={[text.provider, text.model, text.inForce, text.proposed, text.created, ""]}>
        {rows.map((conflict) => (
          <Table.Tr key={conflict.id}>
            <Table.Td>{conflict.provider}</Table.Td><Table.Td>{conflict.model ?? "–"}</Table.Td>
            <Table.Td><Text size="xs">{spell(conflict.in_force)}</Text><Text size="xs" c="dimmed">{conflict.in_force_source}</Text></Table.Td>
            <Table.Td><Text size="xs">{spell(conflict.proposed)}</Text><Text size="xs" c="dimmed">{conflict.source}</Text></Table.Td>
            <Table.Td>{instant(conflict.created_at, zone)}</Table.Td>
            <Table.Td>{conflict.resolution ? <Badge size="sm" variant="default">{conflict.resolution}</Badge> : may("system:configure") && (
              <Group gap={6} wrap="nowrap"><Button size="compact-xs" variant="default" onClick={() => setDecided({ conflict, take: false })}>{text.keep}</Button><Button size="compact-xs" variant="default" onClick={() => setDecided({ conflict, take: true })}>{text.take}</Button></Group>
            )}</Table.Td>
          </Table.Tr>
        ))}
      </List>
      {query.hasNextPage && <Button size="xs" mt="xs" variant="default" onClick={() => void query.fetchNextPage()}>{text.more}</Button>}
      <Confirm opened={decided !== null} title={decided?.take ? text.take : text.keep} lead={`${decided?.conflict.model ?? ""}: ${spell((decided?.take ? decided.conflict.proposed : decided?.conflict.in_force) ?? [])}`} onClose={() => setDecided(null)} onDone={() => void query.refetch()}
        act={() => send(`/api/catalog/price-conflicts/${decided?.conflict.id}/resolve`, { take: decided?.take })} />
    </Panel>
  );
}

function Imports() {
  const { organization, zone, may } = useScene();
  const query = useQuery({ queryKey: ["imports", organization], queryFn: () => read<Page<Import>>("/api/catalog/imports") });
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  return (
    <Stack gap="sm">
      <Group justify="space-between"><Text size="sm">{text.importLead} <Code>nexus catalog import genai-prices | litellm FILE | models.dev FILE</Code></Text>{may("system:configure") && <ImportList />}</Group>
      <Panel>
        <List name={text.imports} minWidth={560} isLoading={query.isPending} columns={[text.time, text.source, text.who, text.change]}>
          {query.data?.items.map((item) => (
            <Table.Tr key={item.id}>
              <Table.Td>{instant(item.imported_at, zone)}</Table.Td><Table.Td>{item.digest || item.source}</Table.Td><Table.Td>{item.imported_by}</Table.Td>
              <Table.Td><Text size="xs">{Object.entries(item.summary).filter(([, value]) => typeof value === "number" && value > 0).map(([name, value]) => `${name.replace(/_/g, " ")} ${count(value as number)}`).join(", ")}</Text></Table.Td>
            </Table.Tr>
          ))}
        </List>
      </Panel>
    </Stack>
  );
}
