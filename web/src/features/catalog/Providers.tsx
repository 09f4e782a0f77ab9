import { Anchor, Badge, Drawer, Group, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { read } from "../../api/client";
import type { Endpoint, Group as Figures, Page, Provider, ProviderCredential } from "../../api/types";
import { useScene } from "../../app/context";
import { count, duration, percent } from "../../app/format";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { summaryOf } from "../metering/queries";
import { Credentials } from "./Credentials";
import { EndpointHealth, useHealth } from "./EndpointHealth";
import { ProviderRates } from "./ProviderRates";

interface Row { provider: Provider | null; slug: string; figures: Figures | undefined; credentials: ProviderCredential[] }

/** Who sells the APIs: how their calls go in the range, and what Nexus sends them as credentials. */
export function Providers() {
  const { view, span, organization, go, may } = useScene();
  const [words, setWords] = useState("");
  const catalog = useQuery({ queryKey: ["providers", organization], staleTime: 60_000, queryFn: ({ signal }) => read<Page<Provider>>("/api/catalog/providers", { limit: "500" }, signal) });
  const figures = useQuery({ ...summaryOf(organization, span, "provider"), enabled: may("metrics:read") });
  const credentials = useQuery({ queryKey: ["credentials", organization], enabled: may("credential:read"), queryFn: ({ signal }) => read<Page<ProviderCredential>>("/api/identity/provider-credentials", { limit: "500" }, signal) });
  if (catalog.isError) return <Stack gap="sm"><Heading title={text.providers} /><Problem error={catalog.error} retry={() => void catalog.refetch()} /></Stack>;
  const known = new Map((catalog.data?.items ?? []).map((item) => [item.slug, item]));
  const called = new Map((figures.data?.groups ?? []).map((group) => [String(group.provider as string), group]));
  const kept = credentials.data?.items ?? [];
  const rows: Row[] = [...new Set([...called.keys(), ...kept.map((item) => item.provider), ...known.keys()])].filter(Boolean)
    .map((slug) => ({ slug, provider: known.get(slug) ?? null, figures: called.get(slug), credentials: kept.filter((item) => item.provider === slug) }))
    .filter((row) => `${row.slug} ${row.provider?.name ?? ""} ${row.provider?.category ?? ""}`.toLowerCase().includes(words.trim().toLowerCase()))
    // What is in use stands first.
    .sort((a, b) => (b.figures?.requests ?? 0) - (a.figures?.requests ?? 0) || b.credentials.length - a.credentials.length || a.slug.localeCompare(b.slug));
  const open = rows.find((row) => row.slug === view.q) ?? null;
  const callsOf = (slug: string, label: string, more: Record<string, string> = {}) => (
    <Anchor size="sm" href={`/calls?provider=${encodeURIComponent(slug)}`} onClick={(event) => { event.preventDefault(); event.stopPropagation(); go({ provider: slug, ...more }, "/calls"); }}>{label}</Anchor>
  );
  return (
    <Stack gap="sm">
      <Heading title={text.providers}><TextInput size="xs" aria-label={text.searchIn(text.providers)} placeholder={text.searchIn(text.providers)} value={words} onChange={(event) => setWords(event.currentTarget.value)} /></Heading>
      <Text size="sm" c="dimmed">{text.providersLead}</Text>
      <Panel>
        <List name={text.providers} minWidth={720} isLoading={catalog.isPending} isStale={figures.isPlaceholderData}
          columns={[text.provider, text.category, { name: text.requests, right: true }, { name: text.errorRate, right: true }, { name: text.p95, right: true }, ...(may("credential:read") ? [{ name: text.credentials, right: true }] : [])]}>
          {catalog.data && rows.map((row) => (
            <Table.Tr key={row.slug} className="open" tabIndex={0} onClick={() => go({ q: row.slug })} onKeyDown={(event) => event.key === "Enter" && event.target === event.currentTarget && go({ q: row.slug })}>
              <Table.Td>{row.provider?.name ?? row.slug}<Text size="xs" c="dimmed">{row.slug}{row.provider ? "" : `, ${text.notInCatalog}`}</Text></Table.Td>
              <Table.Td>{row.provider?.category ?? "–"}</Table.Td>
              <Table.Td className="right">{row.figures ? callsOf(row.slug, count(row.figures.requests)) : "–"}</Table.Td>
              <Table.Td className="right">{row.figures?.errors ? callsOf(row.slug, percent(row.figures.error_rate), { errors: "true" }) : percent(row.figures?.error_rate)}</Table.Td>
              <Table.Td className="right">{duration(row.figures?.latency_p95_ms)}</Table.Td>
              {may("credential:read") && <Table.Td className="right">{row.credentials.length ? count(row.credentials.length) : "–"}</Table.Td>}
            </Table.Tr>
          ))}
        </List>
        {catalog.data && !rows.length && <Text size="sm" c="dimmed" p="xs">{text.nothingFound}</Text>}
      </Panel>
      <Drawer opened={open !== null} onClose={() => go({ q: undefined })} position="right" size="lg" title={open?.provider?.name ?? open?.slug ?? ""} closeButtonProps={{ "aria-label": text.close }}>
        {open && <One row={open} />}
      </Drawer>
    </Stack>
  );
}

function One({ row }: { row: Row }) {
  const { organization, may, go } = useScene();
  const endpoints = useQuery({ queryKey: ["endpoints", organization, row.slug], enabled: row.provider !== null, queryFn: ({ signal }) => read<Page<Endpoint>>("/api/catalog/endpoints", { provider: row.slug, limit: "500" }, signal) });
  const health = useHealth(row.slug, row.provider !== null);
  const links = [[text.website, row.provider?.website_url], [text.documentation, row.provider?.docs_url], [text.itsStatus, row.provider?.status_url]] as const;
  return (
    <Stack gap="md">
      {row.provider?.description && <Text size="sm">{row.provider.description}</Text>}
      <Group gap="sm">
        <Anchor size="sm" href={`/calls?provider=${encodeURIComponent(row.slug)}`} onClick={(event) => { event.preventDefault(); go({ provider: row.slug }, "/calls"); }}>{text.calls}</Anchor>
        <Anchor size="sm" href={`/prices?provider=${encodeURIComponent(row.slug)}`} onClick={(event) => { event.preventDefault(); go({ provider: row.slug }, "/prices"); }}>{text.prices}</Anchor>
        {links.map(([label, url]) => url && <Anchor key={label} size="sm" href={url} target="_blank" rel="noreferrer">{label} ↗</Anchor>)}
      </Group>
      {row.provider?.base_url && <Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{text.upstream} <code>{row.provider.base_url}</code></Text>}
      {row.provider && <EndpointHealth health={health} credentials={row.credentials} />}
      {row.provider && may("quota:read") && <ProviderRates provider={row.provider} />}
      {may("credential:read") && <Credentials provider={row.slug} items={row.credentials} health={health.data?.items ?? []} />}
      {endpoints.isError ? <Problem error={endpoints.error} retry={() => void endpoints.refetch()} /> : endpoints.data && !endpoints.data.items.length ? <Text size="sm" c="dimmed">{text.noEndpoints}</Text> : row.provider && (
        <List name={text.endpoints} minWidth={360} isLoading={endpoints.isPending} columns={[text.endpoints, ""]}>
          {endpoints.data?.items.map((item) => (
            <Table.Tr key={item.id}>
              <Table.Td><code style={{ overflowWrap: "anywhere" }}>{item.method} {item.path_template}</code>{item.is_deprecated && <Badge ml={6} size="xs" variant="default">{text.deprecated}</Badge>}</Table.Td>
              <Table.Td>{item.name}</Table.Td>
            </Table.Tr>
          ))}
        </List>
      )}
    </Stack>
  );
}
