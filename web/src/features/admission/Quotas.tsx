import { Anchor, Badge, Button, Group, Stack, Table, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { LimitSpec } from "../../api/admission";
import { useScene } from "../../app/context";
import { moment } from "../../app/format";
import { Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";
import { inWords } from "./inWords";
import { quotasOf, useSubjects } from "./names";
import { QuotaForm } from "./QuotaForm";
import { quotaText as words } from "./quotaText";

/** Limits in words, one a line; what only watches says so. */
export function LimitLines({ limits }: { limits: LimitSpec[] }) {
  if (!limits.length) return <Text size="sm" c="dimmed">{words.lifted}</Text>;
  return (
    <>
      {limits.map((spec) => (
        <Text key={spec.name} size="sm"><Text span fw={600}>{spec.name}</Text> {inWords(spec)} {spec.shadow && <Badge size="xs" variant="outline" color="gray" tt="none" title={words.shadowLead}>{words.shadow}</Badge>}</Text>
      ))}
    </>
  );
}

/** What is limited, for whom, by which version, and which comes next. */
export function Quotas() {
  const { organization, zone, go, may } = useScene();
  const client = useQueryClient();
  const [isAdding, setAdding] = useState(false);
  const query = useQuery(quotasOf(organization));
  const { nameOf } = useSubjects();
  const quotas = query.data?.items ?? [];
  const adding = may("quota:create") && <Button size="xs" onClick={() => setAdding(true)}>{words.add}</Button>;
  return (
    <Stack gap="sm">
      <Heading title={text.quotas}>{quotas.length > 0 && adding}</Heading>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !quotas.length ? <NoQuotas adding={adding} /> : (
        <>
          <Text size="sm" c="dimmed">{words.lead}</Text>
          <Panel>
            <List name={text.quotas} minWidth={720} isLoading={query.isPending} columns={[text.name, words.scope, words.limits, words.version, words.next]}>
              {quotas.map((quota) => {
                const path = `/quotas/${quota.id}`;
                return (
                  <Table.Tr key={quota.id} data-quota={quota.name}>
                    <Table.Td><Anchor size="sm" fw={600} href={path} onClick={(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); go({}, path); }}>{quota.name}</Anchor></Table.Td>
                    <Table.Td>{words.scopes[quota.scope]}<Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{words.at(quota.subject === null ? words.each[quota.scope] : nameOf(quota.scope, quota.subject), quota.provider)}</Text></Table.Td>
                    <Table.Td>{quota.current ? <LimitLines limits={quota.current.limits} /> : <Text size="sm" c="dimmed">{words.noneInForce}</Text>}</Table.Td>
                    <Table.Td style={{ whiteSpace: "nowrap" }}>{quota.current ? <>{quota.current.version}<Text size="xs" c="dimmed">{quota.current.valid_from && moment(quota.current.valid_from, zone)}</Text></> : "–"}</Table.Td>
                    <Table.Td style={{ whiteSpace: "nowrap" }}>{quota.scheduled ? <>{quota.scheduled.version}<Text size="xs" c="dimmed">{moment(quota.scheduled.valid_from, zone)}</Text></> : "–"}</Table.Td>
                  </Table.Tr>
                );
              })}
            </List>
          </Panel>
        </>
      )}
      {isAdding && <QuotaForm quota={null} onClose={() => setAdding(false)} onDone={(id) => { setAdding(false); void client.invalidateQueries({ queryKey: ["quotas"] }); go({}, `/quotas/${id}`); }} />}
    </Stack>
  );
}

function NoQuotas({ adding }: { adding: React.ReactNode }) {
  const url = window.location.origin;
  const make = `curl ${url}/api/admission/quotas \\
  -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Content-Type: application/json" \\
  -d '{"name": "per-key", "scope": "key", "reason": "nobody takes it all",
       "limits": [{"name": "requests", "dimension": "requests", "rate": "60", "per": "minute"}]}'`;
  const ask = `curl -i ${url}/v1/admit \\
  -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Content-Type: application/json" \\
  -d '{"operation": "read_small", "size_bytes": 8192}'`;
  return (
    <Teach title={words.emptyTitle}>
      <Stack gap="sm">
        <span>{words.emptyLead}</span>
        <Snippet code={make} />
        <span>{words.thenAsk}</span>
        <Snippet code={ask} />
        {adding && <Group>{adding}</Group>}
      </Stack>
    </Teach>
  );
}
