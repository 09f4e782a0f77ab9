import { Anchor, Group, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { useScene } from "../../app/context";
import { compact, count, duration, percent, size } from "../../app/format";
import { mcpText } from "../../app/mcpText";
import { Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";
import { rankingOf, uncalledOf, type Figures, type Row, type Uncalled } from "./queries";

const SHOWN = "100";
const ORDERS = ["calls", "failures", "duration_p95_ms", "name"];

/** The tools by calls, failures and durations; the servers that offer them and the clients that call them. */
export function Mcp() {
  const { view, span, organization, go } = useScene();
  const sort = ORDERS.includes(view.order ?? "") ? (view.order as string) : "calls";
  const only = { server: view.server };
  const tools = useQuery(rankingOf(organization, span, "tools", { ...only, sort, limit: SHOWN }));
  const servers = useQuery(rankingOf(organization, span, "servers", { limit: "50" }));
  const clients = useQuery(rankingOf(organization, span, "clients", { ...only, limit: "50" }));
  const requests = useQuery(rankingOf(organization, span, "requests", { ...only, limit: "50" }));
  const uncalled = useQuery(uncalledOf(organization, span, view.server));
  const failed = [tools, servers, clients, requests, uncalled].find((query) => query.isError);
  if (failed) return <Stack gap="sm"><Heading title={text.mcp} /><Problem error={failed.error} retry={() => void Promise.all([tools.refetch(), servers.refetch(), clients.refetch(), requests.refetch(), uncalled.refetch()])} /></Stack>;
  if (tools.data?.groups === 0 && requests.data?.groups === 0 && !view.server) return <Stack gap="sm"><Heading title={text.mcp} /><EmptyTools /></Stack>;
  const total = tools.data?.total;
  const open = (row: Row) => go({ server: row.server ?? undefined, tool: row.tool ?? undefined }, "/tools/one");
  return (
    <Stack gap="sm">
      <Heading title={text.mcp}>{view.server && <Anchor size="sm" component="button" onClick={() => go({ server: undefined })}>{text.clear(view.server)}</Anchor>}</Heading>
      <Text size="sm" c="dimmed">{mcpText.lead}</Text>
      <Tiles figures={total} />
      <Panel title={mcpText.tools} aside={tools.data && tools.data.groups > tools.data.items.length && <Text size="xs" c="dimmed">{mcpText.of(tools.data.items.length, tools.data.groups)}</Text>}>
        <List name={mcpText.tools} minWidth={760} isLoading={tools.isPending} isStale={tools.isPlaceholderData} sort={sort === "name" ? "name" : `-${sort}`} onSort={(chosen) => go({ order: chosen.replace("-", "") === "calls" ? undefined : chosen.replace("-", "") })}
          columns={[{ name: mcpText.tool, sort: "name" }, { name: mcpText.calls, right: true, sort: "calls" }, { name: mcpText.failures, right: true, sort: "failures" }, { name: mcpText.average, right: true }, { name: mcpText.p95, right: true, sort: "duration_p95_ms" }, { name: mcpText.answerSize, right: true }, { name: mcpText.callers, right: true }]}>
          {tools.data?.items.map((row) => (
            <Table.Tr key={`${row.server}/${row.tool}`} className="open" tabIndex={0} onClick={() => open(row)} onKeyDown={(event) => event.key === "Enter" && open(row)}>
              <Table.Td style={{ overflowWrap: "anywhere" }}>{row.tool}<Text size="xs" c="dimmed">{row.server ?? mcpText.noServer}</Text></Table.Td>
              <Table.Td className="right">{count(row.calls)}</Table.Td>
              <Table.Td className="right"><Failures figures={row} /></Table.Td>
              <Table.Td className="right">{duration(row.duration_avg_ms)}</Table.Td>
              <Table.Td className="right">{duration(row.duration_p95_ms)}</Table.Td>
              <Table.Td className="right">{size(row.response_avg_bytes)}</Table.Td>
              <Table.Td className="right">{count(row.distinct_principals)}</Table.Td>
            </Table.Tr>
          ))}
        </List>
        {tools.data?.items.length === 0 && <Text size="sm" c="dimmed" p="xs">{text.none}</Text>}
      </Panel>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Ranked title={mcpText.servers} rows={servers.data?.items} isLoading={servers.isPending} first={mcpText.server}
          name={(row) => (row.server ? <Anchor size="sm" component="button" style={{ overflowWrap: "anywhere", textAlign: "left" }} onClick={() => go({ server: row.server ?? undefined })}>{row.server}</Anchor> : mcpText.noServer)} keyOf={(row) => row.server ?? ""} />
        <Ranked title={mcpText.clients} rows={clients.data?.items} isLoading={clients.isPending} first={mcpText.client}
          name={(row) => <span style={{ overflowWrap: "anywhere" }}>{row.client ?? mcpText.noClient} <Text span size="xs" c="dimmed">{row.client_version}</Text></span>} keyOf={(row) => `${row.client}/${row.client_version}`} />
      </SimpleGrid>
      {!!uncalled.data?.items.length && <NeverCalled tools={uncalled.data.items} />}
      {requests.data?.groups !== 0 && (
        <Ranked title={mcpText.requests} rows={requests.data?.items} isLoading={requests.isPending} first={mcpText.method}
          name={(row) => <span>{row.method} <Text span size="xs" c="dimmed">{row.status_code ?? mcpText.stdio}</Text></span>} keyOf={(row) => `${row.method}/${row.status_code}`} />
      )}
      {tools.data && <Text size="xs" c="dimmed">{text.bound(percent(tools.data.duration_error_bound))}</Text>}
    </Stack>
  );
}

/** How many failed, the two kinds apart for whoever points at it. */
export function Failures({ figures }: { figures: Figures }) {
  const failures = figures.tool_errors + figures.protocol_errors;
  if (!failures) return <>0</>;
  return <span className="bad" title={mcpText.both(figures.tool_errors, figures.protocol_errors)}>{count(failures)} <Text span size="xs" c="dimmed">{percent(figures.failure_rate)}</Text></span>;
}

export function Tiles({ figures }: { figures: Figures | undefined }) {
  const tiles = [
    [mcpText.calls, figures ? count(figures.calls) : "–", ""],
    [mcpText.toolErrors, figures ? count(figures.tool_errors) : "–", ""],
    [mcpText.protocolErrors, figures ? count(figures.protocol_errors) : "–", ""],
    [mcpText.p95, duration(figures?.duration_p95_ms), figures?.duration_p95_ms == null ? "" : `p50 ${duration(figures.duration_p50_ms)}, p99 ${duration(figures.duration_p99_ms)}`],
    [mcpText.principals, count(figures?.distinct_principals), figures?.distinct_clients == null ? "" : mcpText.byClients(compact(figures.distinct_clients), figures.distinct_clients)],
  ] as const;
  return (
    <SimpleGrid cols={{ base: 2, sm: 5 }} spacing="sm">
      {tiles.map(([label, value, note]) => (
        <Panel key={label}>
          <div role="group" aria-label={label}><Text size="xs" c="dimmed">{label}</Text><Text className="figure" fw={600} size="lg">{value}</Text><Text size="xs" c="dimmed">{note || "\u00a0"}</Text></div>
        </Panel>
      ))}
    </SimpleGrid>
  );
}

function Ranked({ title, rows, isLoading, first, name, keyOf }: { title: string; rows: Row[] | undefined; isLoading: boolean; first: string; name: (row: Row) => ReactNode; keyOf: (row: Row) => string }) {
  return (
    <Panel title={title}>
      <List name={title} minWidth={0} isLoading={isLoading} columns={[first, { name: mcpText.calls, right: true }, { name: mcpText.failures, right: true }, { name: mcpText.p95, right: true }]}>
        {rows?.map((row) => (
          <Table.Tr key={keyOf(row)}>
            <Table.Td>{name(row)}</Table.Td>
            <Table.Td className="right">{count(row.calls)}</Table.Td>
            <Table.Td className="right"><Failures figures={row} /></Table.Td>
            <Table.Td className="right">{duration(row.duration_p95_ms)}</Table.Td>
          </Table.Tr>
        ))}
      </List>
      {rows?.length === 0 && <Text size="sm" c="dimmed" p="xs">{text.none}</Text>}
    </Panel>
  );
}

/** What servers offer and nobody uses: each tool costs an agent's context, called or not. */
function NeverCalled({ tools }: { tools: Uncalled[] }) {
  const servers = new Map<string, string[]>();
  for (const { server, tool } of tools) servers.set(server ?? mcpText.noServer, [...(servers.get(server ?? mcpText.noServer) ?? []), tool]);
  return (
    <Panel title={mcpText.uncalled} aside={<Text size="xs" c="dimmed">{mcpText.uncalledOf(tools.length, servers.size)}</Text>}>
      <Text size="xs" c="dimmed" mb={6}>{mcpText.uncalledLead}</Text>
      <List name={mcpText.uncalled} minWidth={0} columns={[mcpText.server, mcpText.tools]}>
        {[...servers].map(([server, names]) => (
          <Table.Tr key={server}><Table.Td w="30%" style={{ overflowWrap: "anywhere", verticalAlign: "top" }}>{server}</Table.Td><Table.Td style={{ overflowWrap: "anywhere", whiteSpace: "normal" }}>{names.join(", ")}</Table.Td></Table.Tr>
        ))}
      </List>
    </Panel>
  );
}

function EmptyTools() {
  const url = window.location.origin;
  const python = `from nexus_client import Client
from nexus_client.mcp import record

server = MCPServer("files", middleware=[record(Client("${url}"), server="files")])`;
  const curl = `curl ${url}/v1/events \\
  -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Content-Type: application/json" \\
  -d '[{"type": "tool_call", "id": "call-'$(date +%s)'", "server": "files", "tool": "read", "outcome": "ok", "duration_ms": 12}]'`;
  return (
    <Teach title={mcpText.emptyTitle}>
      <Stack gap="sm"><span>{mcpText.emptyLead}</span><Snippet code={python} /><Group gap={4}>{mcpText.emptyPlain}</Group><Snippet code={curl} /></Stack>
    </Teach>
  );
}
