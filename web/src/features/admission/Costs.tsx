import { Autocomplete, Badge, Button, Group, Modal, Select, SimpleGrid, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { CostRule, OperationCharge, OperationType } from "../../api/admission";
import { read, send } from "../../api/client";
import type { Page } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count, instant, size } from "../../app/format";
import { List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { instantOf, rfc } from "../../app/range";
import { text } from "../../app/text";
import { formulaOf } from "./charge";
import { applicationsOf } from "./names";
import { operationText as words } from "./operationText";

const inside = { withinPortal: false };

/** What each operation is charged, for whom another charge holds, and a calculator. */
export function Costs() {
  const { organization, zone, may } = useScene();
  const client = useQueryClient();
  const [adding, setAdding] = useState<"type" | "rule" | null>(null);
  const [now] = useState(Date.now);
  const types = useQuery({ queryKey: ["operation-types", organization], queryFn: ({ signal }) => read<Page<OperationType>>("/api/admission/operation-types", { limit: "500" }, signal) });
  const rules = useQuery({ queryKey: ["cost-rules", organization], queryFn: ({ signal }) => read<Page<CostRule>>("/api/admission/cost-rules", { limit: "500" }, signal) });
  const applications = useQuery({ ...applicationsOf(organization), enabled: may("application:read") });
  const nameOf = (id: string) => applications.data?.items.find((item) => item.id === id)?.name ?? id.slice(0, 8);
  const close = () => setAdding(null);
  const done = () => {
    close();
    for (const key of ["operation-types", "cost-rules", "charge"]) void client.invalidateQueries({ queryKey: [key] });
  };
  if (types.isError || rules.isError) return <Problem error={types.error ?? rules.error} retry={() => { void types.refetch(); void rules.refetch(); }} />;
  const mayAdd = may("quota:create");
  return (
    <Stack gap="sm">
      <Text size="sm" c="dimmed">{words.lead}</Text>
      {types.data && <Calculator types={types.data.items} applications={(applications.data?.items ?? []).map((item) => item.name)} />}
      <Panel title={words.types} aside={mayAdd && <Button size="compact-xs" variant="default" onClick={() => setAdding("type")}>{words.addType}</Button>}>
        <List name={words.types} minWidth={640} isLoading={types.isPending} columns={[text.name, words.category, { name: words.base, right: true }, { name: words.quantum, right: true }, { name: words.perQuantum, right: true }, words.source]}>
          {types.data?.items.map((item) => (
            <Table.Tr key={item.id} data-operation={item.name}>
              <Table.Td fw={600}>{item.name}<Text size="xs" c="dimmed">{[item.description, item.whole_quanta ? words.wholeQuanta : ""].filter(Boolean).join("; ")}</Text></Table.Td>
              <Table.Td>{item.category}</Table.Td>
              <Table.Td className="right">{item.c_base}</Table.Td>
              <Table.Td className="right" title={size(item.unit_quantum)}>{count(item.unit_quantum)}</Table.Td>
              <Table.Td className="right">{item.c_bw}</Table.Td>
              <Table.Td>{item.is_shared ? words.shipped : words.own}</Table.Td>
            </Table.Tr>
          ))}
        </List>
      </Panel>
      <Panel title={words.rules} aside={mayAdd && (applications.data?.items.length ?? 0) > 0 && <Button size="compact-xs" variant="default" onClick={() => setAdding("rule")}>{words.addRule}</Button>}>
        <Text size="xs" c="dimmed" mb={4}>{words.rulesLead}</Text>
        {rules.data && !rules.data.items.length ? <Text size="sm">{words.noRules}</Text> : (
          <List name={words.rules} minWidth={640} isLoading={rules.isPending} columns={[words.application, words.operation, { name: words.base, right: true }, { name: words.perQuantum, right: true }, words.from, words.until]}>
            {rules.data?.items.map((item) => (
              <Table.Tr key={item.id} data-rule={item.operation}>
                <Table.Td>{nameOf(item.application_id)}</Table.Td>
                <Table.Td>{item.operation}</Table.Td>
                <Table.Td className="right">{item.c_base ?? words.asType}</Table.Td>
                <Table.Td className="right">{item.c_bw ?? words.asType}</Table.Td>
                <Table.Td>{item.valid_from ? instant(item.valid_from, zone) : words.always}</Table.Td>
                <Table.Td>{item.valid_to ? instant(item.valid_to, zone) : words.always} {item.valid_to && Date.parse(item.valid_to) <= now && <Badge size="xs" variant="dot" color="gray" tt="none">{words.over}</Badge>}</Table.Td>
              </Table.Tr>
            ))}
          </List>
        )}
      </Panel>
      {adding === "type" && <AddType onClose={close} onDone={done} />}
      {adding === "rule" && <AddRule applications={(applications.data?.items ?? []).map((item) => ({ value: item.id, label: item.name }))} operations={[...new Set((types.data?.items ?? []).map((item) => item.name))]} onClose={close} onDone={done} />}
    </Stack>
  );
}

/** What one operation is charged, by the costs in force, and how. */
function Calculator({ types, applications }: { types: OperationType[]; applications: string[] }) {
  const { organization } = useScene();
  const [operation, setOperation] = useState(types[0]?.name ?? "");
  const [bytes, setBytes] = useState("8192");
  const [application, setApplication] = useState("");
  const [asked] = useDebouncedValue(JSON.stringify({ operation, size_bytes: /^\d+$/.test(bytes.trim()) ? Number(bytes) : bytes, application: application.trim() }), 200);
  const query = useQuery({ queryKey: ["charge", organization, asked], retry: false, placeholderData: keepPreviousData, queryFn: () => send<OperationCharge>("/api/admission/operation-types/charge", JSON.parse(asked)) });
  return (
    <Panel title={words.calculator}>
      <SimpleGrid cols={{ base: 1, sm: 3 }} spacing="sm">
        <Select size="xs" label={words.operation} allowDeselect={false} searchable value={operation} onChange={(value) => setOperation(value ?? "")} data={[...new Set(types.map((item) => item.name))]} />
        <TextInput size="xs" label={words.size} inputMode="numeric" value={bytes} onChange={(event) => setBytes(event.currentTarget.value)} />
        <Autocomplete size="xs" label={words.application} placeholder={words.anyApplication} data={applications} value={application} onChange={setApplication} />
      </SimpleGrid>
      <div aria-live="polite" data-charge style={{ minHeight: 58 }}>
        {query.isError ? <Text size="sm" className="bad" mt="sm">{query.error.message}</Text> : query.data && (
          <Stack gap={0} mt="sm">
            <Text className="figure" fw={600} size="lg">{words.operations(query.data.operations)} <Text span size="sm" c="dimmed">{words.bytes}: {count(query.data.bytes)}</Text></Text>
            <Text size="sm" c="dimmed" className="figure">{formulaOf(query.data)}</Text>
          </Stack>
        )}
      </div>
    </Panel>
  );
}

function AddType({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [draft, setDraft] = useState({ name: "", category: "", c_base: "1", unit_quantum: "4096", c_bw: "0", description: "" });
  const [isWhole, setWhole] = useState(false);
  const attempt = useAttempt();
  const field = (name: keyof typeof draft, label: string, more: { description?: string; required?: boolean } = { required: true }) => (
    <TextInput size="sm" label={label} value={draft[name]} error={attempt.fault?.of(name)} onChange={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })} {...more} />
  );
  const submit = async () => {
    await send("/api/admission/operation-types", { ...draft, unit_quantum: /^\d+$/.test(draft.unit_quantum) ? Number(draft.unit_quantum) : draft.unit_quantum, whole_quanta: isWhole });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={words.addType} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          {field("name", text.name, { description: words.typeLead, required: true })}
          {field("category", words.category)}
          <Group grow align="start">{field("c_base", words.base)}{field("unit_quantum", words.quantum)}{field("c_bw", words.perQuantum)}</Group>
          <Switch label={words.wholeQuanta} checked={isWhole} onChange={(event) => setWhole(event.currentTarget.checked)} />
          {field("description", words.description, {})}
          <Ending attempt={attempt} fields={Object.keys(draft)} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}

function AddRule({ applications, operations, onClose, onDone }: { applications: { value: string; label: string }[]; operations: string[]; onClose: () => void; onDone: () => void }) {
  const { zone } = useScene();
  const [application, setApplication] = useState<string | null>(applications[0]?.value ?? null);
  const [operation, setOperation] = useState<string | null>(operations[0] ?? null);
  const [draft, setDraft] = useState({ c_base: "", c_bw: "", valid_from: "", valid_to: "" });
  const attempt = useAttempt();
  const field = (name: keyof typeof draft, label: string, more: { description?: string; type?: string } = {}) => (
    <TextInput size="sm" label={label} value={draft[name]} error={attempt.fault?.of(name)} onChange={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })} {...more} />
  );
  const submit = async () => {
    const at = (wall: string) => (wall ? rfc(instantOf(wall, zone)) : undefined);
    await send("/api/admission/cost-rules", { application_id: application, operation, c_base: draft.c_base.trim() || undefined, c_bw: draft.c_bw.trim() || undefined, valid_from: at(draft.valid_from), valid_to: at(draft.valid_to) });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={words.addRule} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          <Text size="sm" c="dimmed">{words.ruleLead}</Text>
          <Select label={words.application} allowDeselect={false} searchable data={applications} value={application} error={attempt.fault?.of("application_id")} onChange={setApplication} comboboxProps={inside} />
          <Select label={words.operation} allowDeselect={false} searchable data={operations} value={operation} error={attempt.fault?.of("operation")} onChange={setOperation} comboboxProps={inside} />
          <Group grow align="start">{field("c_base", words.base)}{field("c_bw", words.perQuantum)}</Group>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>{field("valid_from", `${words.from} (${zone})`, { description: words.fromLead, type: "datetime-local" })}{field("valid_to", `${words.until} (${zone})`, { description: words.untilLead, type: "datetime-local" })}</SimpleGrid>
          <Ending attempt={attempt} fields={["application_id", "operation", ...Object.keys(draft)]} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}

/** How a form ends: what no field of it is at fault for, a way out, and the press that sends it. */
export function Ending({ attempt, fields, label = text.create, onClose }: { attempt: ReturnType<typeof useAttempt>; fields: string[]; label?: string; onClose: () => void }) {
  return (
    <>
      {attempt.fault && !fields.some((name) => attempt.fault?.of(name)) && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
      <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{label}</Button></Group>
    </>
  );
}
