import { Alert, Badge, Button, Group, Stack, Table, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { remove, send } from "../../api/client";
import { useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { duration } from "../../app/format";
import { mcpServerText as words } from "../../app/mcpServerText";
import { Confirm, Copyable, Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { ServerForm } from "./ServerForm";
import { serversOf, type Check, type McpServer } from "./servers";

/** The MCP servers behind the gateway: where each goes, at what price, and whether it answers. */
export function Servers() {
  const { organization, may } = useScene();
  const client = useQueryClient();
  const query = useQuery(serversOf(organization));
  const [edited, setEdited] = useState<McpServer | "new" | null>(null);
  const [removed, setRemoved] = useState<McpServer | null>(null);
  const again = () => void client.invalidateQueries({ queryKey: ["mcp-servers"] });
  const mayManage = may("mcp_server:manage");
  const add = mayManage && <Button size="xs" onClick={() => setEdited("new")}>{words.add}</Button>;
  const servers = query.data?.items ?? [];
  return (
    <Stack gap="sm">
      <Heading title={text.mcpServers}>{servers.length > 0 && add}</Heading>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !servers.length ? (
        <Teach title={words.emptyTitle}><Stack gap="sm"><span>{words.emptyLead}</span><Group>{add}</Group></Stack></Teach>
      ) : (
        <>
          <Text size="sm" c="dimmed">{words.lead}</Text>
          <Panel>
            <List name={text.mcpServers} minWidth={720} isLoading={query.isPending} columns={[text.name, words.goesTo, words.secret, words.price, text.status, ""]}>
              {servers.map((server) => <One key={server.id} server={server} mayManage={mayManage} onEdit={() => setEdited(server)} onRemove={() => setRemoved(server)} />)}
            </List>
          </Panel>
          <Panel title={words.together}><Text size="sm" c="dimmed" mb={6}>{words.togetherLead}</Text><Copyable value={`${window.location.origin}/mcp`} /></Panel>
        </>
      )}
      {edited && <ServerForm server={edited === "new" ? null : edited} onClose={() => setEdited(null)} onDone={() => { setEdited(null); again(); }} />}
      <Confirm opened={removed !== null} title={text.removeMember} name={removed?.name} lead={words.removeLead} onClose={() => setRemoved(null)} onDone={again} act={() => remove(`/api/mcp/gateway-servers/${removed?.id}`)} />
    </Stack>
  );
}

function One({ server, mayManage, onEdit, onRemove }: { server: McpServer; mayManage: boolean; onEdit: () => void; onRemove: () => void }) {
  const attempt = useAttempt();
  const [check, setCheck] = useState<Check | null>(null);
  const test = () => { setCheck(null); void attempt.run(async () => setCheck(await send<Check>(`/api/mcp/gateway-servers/${server.id}/test`))); };
  const told = check ?? (attempt.fault && { is_ok: false, error: attempt.fault.message, revision: "", tools: [], duration_ms: 0 });
  const own = Object.keys(server.tool_prices).length;
  return (
    <>
      <Table.Tr data-server={server.name}>
        <Table.Td fw={600}>{server.name}<Text size="xs" c="dimmed" fw={400} style={{ overflowWrap: "anywhere" }}>{server.description || `/mcp/${server.name}`}</Text></Table.Td>
        <Table.Td style={{ overflowWrap: "anywhere" }}><code>{server.url ?? server.command?.join(" ")}</code><Text size="xs" c="dimmed">{words.transports[server.transport]}</Text></Table.Td>
        <Table.Td>{server.prefix ? <><code>{server.prefix}…</code><Text size="xs" c="dimmed">{words.forms[server.auth_form]}</Text></> : server.variables.length ? server.variables.join(", ") : <Text size="sm" c="dimmed">{words.noSecret}</Text>}</Table.Td>
        <Table.Td>{server.price ?? "–"}{own > 0 && <Text size="xs" c="dimmed">{words.own(own)}</Text>}</Table.Td>
        <Table.Td><Badge size="sm" variant="dot" miw="max-content" color={server.is_enabled ? "teal" : "gray"}>{server.is_enabled ? text.active : text.off}</Badge></Table.Td>
        <Table.Td>
          {mayManage && (
            <Group gap={6} wrap="nowrap" justify="flex-end">
              <Button size="compact-xs" variant="default" aria-label={`${words.test} ${server.name}`} loading={attempt.busy} onClick={test}>{words.test}</Button>
              <Button size="compact-xs" variant="default" aria-label={`${words.edit} ${server.name}`} onClick={onEdit}>{words.edit}</Button>
              <Button size="compact-xs" variant="default" className="bad" aria-label={`${text.removeMember} ${server.name}`} onClick={onRemove}>{text.removeMember}</Button>
            </Group>
          )}
        </Table.Td>
      </Table.Tr>
      {told && (
        <Table.Tr>
          <Table.Td colSpan={6}>
            <Alert color={told.is_ok ? "teal" : "red"} variant="light" title={told.is_ok ? words.answered(told.tools.length, told.revision, duration(told.duration_ms)) : words.failed}>
              <Text size="sm" style={{ overflowWrap: "anywhere" }}>{told.is_ok ? told.tools.join(", ") : told.error}</Text>
            </Alert>
          </Table.Td>
        </Table.Tr>
      )}
    </>
  );
}
