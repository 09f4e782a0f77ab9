import { Badge, Button, Group, Modal, Select, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Application } from "../../api/admission";
import { amend, send } from "../../api/client";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { Ending } from "./Costs";
import { applicationsOf, clustersOf } from "./names";
import { operationText as words } from "./operationText";

/** The applications that share what the organization may take. */
export function Applications() {
  const { organization, zone, may } = useScene();
  const client = useQueryClient();
  const [edited, setEdited] = useState<Application | "new" | null>(null);
  const query = useQuery(applicationsOf(organization));
  const clusters = useQuery(clustersOf(organization));
  const nameOf = (id: string | null) => (id === null ? words.noCluster : (clusters.data?.items.find((item) => item.id === id)?.name ?? id.slice(0, 8)));
  const adding = may("application:create") && <Button size="xs" onClick={() => setEdited("new")}>{words.addApplication}</Button>;
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  return (
    <Stack gap="sm">
      {query.data && !query.data.items.length ? <Teach title={words.noApplications}>{words.noApplicationsLead}{adding && <Group mt="sm">{adding}</Group>}</Teach> : (
        <>
          <Group justify="space-between"><Text size="sm" c="dimmed" flex={1}>{words.applicationsLead}</Text>{adding}</Group>
          <Panel>
            <List name={words.applications} minWidth={520} isLoading={query.isPending} columns={[text.name, words.cluster, words.state, text.created, ""]}>
              {query.data?.items.map((item) => (
                <Table.Tr key={item.id} data-application={item.name}>
                  <Table.Td fw={600}>{item.name}<Text size="xs" c="dimmed">{Object.entries(item.metadata).map(([name, value]) => `${name}: ${value}`).join(", ")}</Text></Table.Td>
                  <Table.Td>{nameOf(item.cluster_id)}</Table.Td>
                  <Table.Td><Badge size="sm" variant="dot" tt="none" color={item.is_active ? "teal" : "gray"}>{item.is_active ? words.active : words.inactive}</Badge></Table.Td>
                  <Table.Td>{instant(item.created_at, zone)}</Table.Td>
                  <Table.Td className="right">{may("application:update") && <Button size="compact-xs" variant="default" aria-label={`${words.edit} ${item.name}`} onClick={() => setEdited(item)}>{words.edit}</Button>}</Table.Td>
                </Table.Tr>
              ))}
            </List>
          </Panel>
        </>
      )}
      {edited && <Form item={edited === "new" ? null : edited} clusters={(clusters.data?.items ?? []).map((item) => ({ value: item.id, label: item.name }))} onClose={() => setEdited(null)} onDone={() => { setEdited(null); void client.invalidateQueries({ queryKey: ["applications"] }); }} />}
    </Stack>
  );
}

function Form({ item, clusters, onClose, onDone }: { item: Application | null; clusters: { value: string; label: string }[]; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState(item?.name ?? "");
  const [cluster, setCluster] = useState(item?.cluster_id ?? null);
  const [isActive, setActive] = useState(item?.is_active ?? true);
  const attempt = useAttempt();
  const submit = async () => {
    await (item ? amend(`/api/admission/applications/${item.id}`, { cluster_id: cluster ?? undefined, is_active: isActive }) : send("/api/admission/applications", { name: name.trim(), cluster_id: cluster ?? undefined }));
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={item ? `${words.edit} ${item.name}` : words.addApplication} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          {!item && <TextInput autoFocus data-autofocus label={text.name} required maxLength={200} value={name} error={attempt.fault?.of("name")} onChange={(event) => setName(event.currentTarget.value)} />}
          <Select label={words.cluster} description={item?.cluster_id ? words.clusterStaysLead : undefined} placeholder={words.noCluster} clearable={!item?.cluster_id} data={clusters} value={cluster} error={attempt.fault?.of("cluster_id")} onChange={setCluster} comboboxProps={{ withinPortal: false }} />
          {item && <Switch label={words.isActive} checked={isActive} onChange={(event) => setActive(event.currentTarget.checked)} />}
          <Ending attempt={attempt} fields={["name", "cluster_id"]} label={item ? text.save : text.create} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}
