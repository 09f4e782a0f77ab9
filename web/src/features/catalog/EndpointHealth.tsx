import { Badge, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { EndpointHealth as Health, Page, ProviderCredential } from "../../api/types";
import { useScene } from "../../app/context";
import { clock, moment } from "../../app/format";
import { gatewayText as words } from "../../app/gatewayText";
import { List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";

const EVERY_MS = 5000;
const COLORS = { well: "teal", half_open: "yellow", open: "red" } as const;

/** How the endpoints of a provider do; read again every few seconds, as a circuit opens and closes within them. */
export function useHealth(provider: string, isKnown: boolean) {
  const { organization } = useScene();
  return useQuery({
    queryKey: ["health", organization, provider],
    enabled: isKnown,
    refetchInterval: EVERY_MS,
    queryFn: ({ signal }) => read<Pick<Page<Health>, "items">>(`/api/catalog/providers/${encodeURIComponent(provider)}/health`, {}, signal),
  });
}

/** Each endpoint the gateway called in the last day: whether calls go there, and what went wrong last. */
export function EndpointHealth({ health, credentials }: { health: ReturnType<typeof useHealth>; credentials: ProviderCredential[] }) {
  const { zone } = useScene();
  if (health.isError) return <Problem error={health.error} retry={() => void health.refetch()} />;
  const items = health.data?.items ?? [];
  const nameOf = (id: string | null) => credentials.find((item) => item.id === id)?.name ?? (id ? id.slice(0, 8) : words.withoutCredential);
  return (
    <Panel title={words.health}>
      {health.data && !items.length ? <Text size="sm" c="dimmed">{words.noHealth}</Text> : (
        <List name={words.health} minWidth={440} isLoading={health.isPending} columns={[words.endpoint, words.state, words.recent, words.lastFailure]}>
          {items.map((item) => (
            <Table.Tr key={`${item.base_url} ${item.credential_id}`} data-endpoint>
              <Table.Td style={{ overflowWrap: "anywhere" }}>{nameOf(item.credential_id)}{item.base_url && <Text size="xs" c="dimmed">{item.base_url}</Text>}</Table.Td>
              <Table.Td>
                <Badge size="sm" variant="dot" miw="max-content" color={COLORS[item.state]} tt="none">{words.states[item.state]}</Badge>
                {item.open_until && <Text size="xs" c="dimmed">{words.openUntil(clock(item.open_until, zone))}</Text>}
                {item.state === "open" && item.processes > 1 && <Text size="xs" c="dimmed">{words.inProcesses(item.refusing_processes, item.processes)}</Text>}
                {item.state === "half_open" && <Text size="xs" c="dimmed">{words.trial}</Text>}
              </Table.Td>
              <Table.Td style={{ whiteSpace: "nowrap" }}>{words.failed(item.recent_failures, item.recent_calls)}{item.failures_in_a_row > 1 && <Text size="xs" c="dimmed">{words.inARow(item.failures_in_a_row)}</Text>}</Table.Td>
              <Table.Td>{item.last_failure_at ? <>{item.last_failure}<Text size="xs" c="dimmed">{moment(item.last_failure_at, zone)}</Text></> : "–"}</Table.Td>
            </Table.Tr>
          ))}
        </List>
      )}
    </Panel>
  );
}
