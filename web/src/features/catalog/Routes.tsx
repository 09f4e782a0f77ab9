import { Badge, Button, Group, Stack, Table, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { read, remove } from "../../api/client";
import type { ModelRoute, Page, ProviderCredential } from "../../api/types";
import { useScene } from "../../app/context";
import { percent } from "../../app/format";
import { gatewayText as words } from "../../app/gatewayText";
import { Confirm, Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { RouteForm } from "./RouteForm";
import { TryIt } from "./TryIt";
import { waysOf } from "./ways";

/** Where aliases of models lead, and a request to try one. */
export function Routes() {
  const { organization, view, go, may } = useScene();
  const client = useQueryClient();
  const [edited, setEdited] = useState<ModelRoute | "new" | null>(null);
  const [removed, setRemoved] = useState<ModelRoute | null>(null);
  const query = useQuery({ queryKey: ["model-routes", organization], queryFn: ({ signal }) => read<Page<ModelRoute>>("/api/catalog/model-routes", { limit: "500" }, signal) });
  const credentials = useQuery({ queryKey: ["credentials", organization], enabled: may("credential:read"), queryFn: ({ signal }) => read<Page<ProviderCredential>>("/api/identity/provider-credentials", { limit: "500" }, signal) });
  const again = () => void client.invalidateQueries({ queryKey: ["model-routes"] });
  const routes = query.data?.items ?? [];
  const ways = waysOf(routes);
  const known = credentials.data && new Set(credentials.data.items.filter((item) => item.is_active).map((item) => item.provider));
  const mayWrite = may("catalog:write");
  const adding = mayWrite && <Button size="xs" onClick={() => setEdited("new")}>{words.addRoute}</Button>;
  return (
    <Stack gap="sm">
      <Heading title={text.routes}>{routes.length > 0 && adding}</Heading>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !routes.length ? (
        <Teach title={words.emptyTitle}>{words.emptyLead}{mayWrite && <Group mt="sm">{adding}</Group>}</Teach>
      ) : (
        <>
          <Text size="sm" c="dimmed">{words.routesLead}</Text>
          <Panel>
            <List name={text.routes} minWidth={560} isLoading={query.isPending} columns={[words.alias, words.order, text.provider, text.model, { name: words.share, right: true }, ""]}>
              {[...ways].flatMap(([alias, items]) => items.map(({ route, place, share }, line) => (
                <Table.Tr key={route.id} data-route={alias}>
                  <Table.Td fw={600}>{line === 0 ? alias : <span className="hidden">{alias}</span>}</Table.Td>
                  <Table.Td style={{ whiteSpace: "nowrap" }}>{share === null ? <Badge size="sm" variant="dot" color="gray" tt="none">{words.off}</Badge> : place === 0 ? words.first : words.fallback(place)}<Text size="xs" c="dimmed">{words.priority} {route.priority}</Text></Table.Td>
                  <Table.Td>{route.provider}{known && !known.has(route.provider) && <Text size="xs" className="bad">{words.noCredential}</Text>}</Table.Td>
                  <Table.Td style={{ overflowWrap: "anywhere" }}>{route.model}</Table.Td>
                  <Table.Td className="right">{percent(share)}<Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{words.weight} {route.weight}</Text></Table.Td>
                  <Table.Td>
                    <Group gap={6} wrap="nowrap" justify="flex-end">
                      {line === 0 && <Button size="compact-xs" variant="default" aria-label={`${words.tryIt} ${alias}`} onClick={() => go({ q: alias })}>{words.tryIt}</Button>}
                      {mayWrite && <Button size="compact-xs" variant="default" aria-label={`${words.edit} ${alias} ${route.provider}/${route.model}`} onClick={() => setEdited(route)}>{words.edit}</Button>}
                      {mayWrite && <Button size="compact-xs" variant="default" className="bad" aria-label={`${words.remove} ${alias} ${route.provider}/${route.model}`} onClick={() => setRemoved(route)}>{words.remove}</Button>}
                    </Group>
                  </Table.Td>
                </Table.Tr>
              )))}
            </List>
          </Panel>
        </>
      )}
      {query.data && <TryIt key={view.q ?? ""} chosen={view.q ?? routes[0]?.alias ?? ""} aliases={[...ways.keys()]} />}
      {edited && <RouteForm route={edited === "new" ? null : edited} alias={edited === "new" ? view.q : undefined} providers={[...(known ?? [])]} onClose={() => setEdited(null)} onDone={() => { setEdited(null); again(); }} />}
      <Confirm opened={removed !== null} title={words.remove} lead={removed ? words.removeLead(removed.alias, `${removed.provider}/${removed.model}`, ways.get(removed.alias)?.length === 1) : ""} onClose={() => setRemoved(null)} onDone={again} act={() => remove(`/api/catalog/model-routes/${removed?.id}`)} />
    </Stack>
  );
}
