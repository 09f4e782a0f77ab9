import { Badge, Button, Group, Modal, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Cluster } from "../../api/admission";
import { amend, send } from "../../api/client";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count } from "../../app/format";
import { List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { Ending } from "./Costs";
import { clustersOf } from "./names";
import { SharedCapacities } from "./SharedCapacities";
import { operationText as words } from "./operationText";

const COLORS: Record<string, string> = { healthy: "teal", degraded: "orange", unhealthy: "red" };

/** The storage that applications share. */
export function Clusters() {
  const { organization, may } = useScene();
  const client = useQueryClient();
  const [edited, setEdited] = useState<Cluster | "new" | null>(null);
  const query = useQuery(clustersOf(organization));
  const adding = may("application:create") && <Button size="xs" onClick={() => setEdited("new")}>{words.addCluster}</Button>;
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  return (
    <Stack gap="sm">
      {query.data && !query.data.items.length ? <Teach title={words.noClusters}>{words.noClustersLead}{adding && <Group mt="sm">{adding}</Group>}</Teach> : (
        <>
          <Group justify="space-between"><Text size="sm" c="dimmed" flex={1}>{words.clustersLead}</Text>{adding}</Group>
          <Panel>
            <List name={words.clusters} minWidth={620} isLoading={query.isPending} columns={[text.name, words.region, words.endpoint, { name: words.capacity, right: true }, words.health, ""]}>
              {query.data?.items.map((item) => (
                <Table.Tr key={item.id} data-cluster={item.name}>
                  <Table.Td fw={600}>{item.name}</Table.Td>
                  <Table.Td>{item.region || "–"}</Table.Td>
                  <Table.Td style={{ overflowWrap: "anywhere" }}>{item.endpoint ?? "–"}</Table.Td>
                  <Table.Td className="right">{item.max_capacity ? `${count(item.max_capacity)} ${words.perSecond}` : words.unlimited}</Table.Td>
                  <Table.Td><Badge size="sm" variant="dot" tt="none" color={COLORS[item.health_status] ?? "gray"}>{words.healths[item.health_status] ?? item.health_status}</Badge></Table.Td>
                  <Table.Td className="right">{may("application:update") && <Button size="compact-xs" variant="default" aria-label={`${words.edit} ${item.name}`} onClick={() => setEdited(item)}>{words.edit}</Button>}</Table.Td>
                </Table.Tr>
              ))}
            </List>
          </Panel>
        </>
      )}
      {may("system:monitor") && <SharedCapacities />}
      {edited && <Form item={edited === "new" ? null : edited} onClose={() => setEdited(null)} onDone={() => { setEdited(null); void client.invalidateQueries({ queryKey: ["clusters"] }); }} />}
    </Stack>
  );
}

function Form({ item, onClose, onDone }: { item: Cluster | null; onClose: () => void; onDone: () => void }) {
  const [draft, setDraft] = useState({ name: item?.name ?? "", region: item?.region ?? "", endpoint: item?.endpoint ?? "", max_capacity: item?.max_capacity ? String(item.max_capacity) : "", health_check_url: item?.health_check_url ?? "" });
  const [health, setHealth] = useState(item?.health_status ?? "unknown");
  const attempt = useAttempt();
  const field = (name: keyof typeof draft, label: string, more: { description?: string; required?: boolean } = {}) => (
    <TextInput label={label} value={draft[name]} error={attempt.fault?.of(name)} onChange={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })} {...more} />
  );
  const submit = async () => {
    const { name, max_capacity: capacity, ...rest } = draft;
    const said = { ...Object.fromEntries(Object.entries(rest).filter(([field, value]) => field === "region" || value !== "")), ...(capacity.trim() ? { max_capacity: /^\d+$/.test(capacity.trim()) ? Number(capacity) : capacity } : {}) };
    await (item ? amend(`/api/admission/clusters/${item.id}`, { ...said, health_status: health }) : send("/api/admission/clusters", { ...said, name: name.trim() }));
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={item ? `${words.edit} ${item.name}` : words.addCluster} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          {!item && field("name", text.name, { description: words.nameLead, required: true })}
          {field("region", words.region)}
          {field("endpoint", words.endpoint)}
          {field("max_capacity", words.capacity)}
          {field("health_check_url", words.healthUrl)}
          {item && <Select label={words.health} allowDeselect={false} data={Object.entries(words.healths).map(([value, label]) => ({ value, label }))} value={health} onChange={(value) => setHealth(value ?? "unknown")} comboboxProps={{ withinPortal: false }} />}
          <Ending attempt={attempt} fields={[...Object.keys(draft), "health_status"]} label={item ? text.save : text.create} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}
