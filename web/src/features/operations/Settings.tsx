import { Button, Group, Modal, Select, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, type FormEvent } from "react";
import { amend, ApiError, read, remove, send } from "../../api/client";
import type { ConfigurationValue, OrganizationDetails, Page } from "../../api/types";
import { useScene } from "../../app/context";
import { Heading, List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";

/** The organization's own settings, and the system's where one may see them. */
export function Settings() {
  const { may } = useScene();
  return (
    <Stack gap="sm" maw={920}>
      <Heading title={text.settings}>{may("organization:create") && <NewOrganization />}</Heading>
      <Organization />
      {may("configuration:read") && <Configuration />}
    </Stack>
  );
}

function Organization() {
  const { organization, may } = useScene();
  const client = useQueryClient();
  const query = useQuery({ queryKey: ["organization", organization], queryFn: () => read<OrganizationDetails>("/api/identity/organization") });
  const [name, setName] = useState("");
  const [billing, setBilling] = useState("");
  const [zone, setZone] = useState<string | null>("UTC");
  const [state, setState] = useState<"" | "saved" | ApiError>("");
  useEffect(() => {
    if (!query.data) return;
    setName(query.data.name);
    setBilling(query.data.billing_email ?? "");
    setZone(query.data.reporting_zone);
  }, [query.data]);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      await amend("/api/identity/organization", { name, reporting_zone: zone, ...(billing ? { billing_email: billing } : {}) });
      setState("saved");
      await Promise.all([client.invalidateQueries({ queryKey: ["organization"] }), client.invalidateQueries({ queryKey: ["account"] })]);
    } catch (error) {
      if (error instanceof ApiError) setState(error);
    }
  };
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  const isFixed = !may("organization:update");
  const of = (field: string) => (state instanceof ApiError ? state.of(field) : undefined);
  return (
    <Panel title={text.organization}>
      <form onSubmit={(event) => void submit(event)}>
        <Stack gap="xs">
          <Group grow align="start">
            <TextInput label={text.organizationName} required maxLength={200} readOnly={isFixed} value={name} error={of("name")} onChange={(event) => setName(event.currentTarget.value)} />
            <TextInput label={text.billing} type="email" readOnly={isFixed} value={billing} error={of("billing_email")} onChange={(event) => setBilling(event.currentTarget.value)} />
          </Group>
          <Group grow align="start">
            <Select label={text.reportingZone} description={text.reportingLead} searchable allowDeselect={false} limit={60} readOnly={isFixed} value={zone} error={of("reporting_zone")} onChange={setZone} data={[...new Set(["UTC", zone ?? "UTC", ...Intl.supportedValuesOf("timeZone")])]} />
            <TextInput label={text.currency} description={text.currencyLead} readOnly value={query.data?.currency ?? ""} />
          </Group>
          {!isFixed && <Group gap="sm"><Button size="xs" type="submit">{text.save}</Button>{state === "saved" && <Text size="sm" className="good" role="status">{text.saved}</Text>}{state instanceof ApiError && !state.problem.errors?.length && <Text size="sm" className="bad" role="alert">{state.message}</Text>}</Group>}
        </Stack>
      </form>
    </Panel>
  );
}

function NewOrganization() {
  const { go } = useScene();
  const client = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const [name, setName] = useState("");
  const [slug, setSlug] = useState("");
  const [currency, setCurrency] = useState("USD");
  const [fault, setFault] = useState<ApiError | null>(null);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      await send("/api/identity/organizations", { name, slug, currency });
      setOpen(false);
      await client.invalidateQueries({ queryKey: ["account"] });
      go({ organization: slug }, "/");
    } catch (error) {
      if (error instanceof ApiError) setFault(error);
    }
  };
  return (
    <>
      <Button size="xs" variant="default" onClick={() => setOpen(true)}>{text.newOrganization}</Button>
      <Modal opened={isOpen} onClose={() => setOpen(false)} title={text.newOrganization} closeButtonProps={{ "aria-label": text.close }}>
        <form onSubmit={(event) => void submit(event)}>
          <Stack>
            <TextInput data-autofocus label={text.name} required value={name} error={fault?.of("name")} onChange={(event) => { setName(event.currentTarget.value); setSlug(event.currentTarget.value.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")); }} />
            <TextInput label={text.slug} required value={slug} error={fault?.of("slug")} onChange={(event) => setSlug(event.currentTarget.value)} />
            <TextInput label={text.currency} required maxLength={3} value={currency} error={fault?.of("currency")} onChange={(event) => setCurrency(event.currentTarget.value.toUpperCase())} />
            {fault && !fault.problem.errors?.length && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
            <Group justify="flex-end"><Button variant="default" onClick={() => setOpen(false)}>{text.cancel}</Button><Button type="submit">{text.create}</Button></Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

function Configuration() {
  const { may } = useScene();
  const query = useQuery({ queryKey: ["configuration"], queryFn: () => read<Page<ConfigurationValue>>("/api/operations/configuration") });
  const [fault, setFault] = useState<unknown>(null);
  const attempt = async (act: () => Promise<unknown>) => {
    setFault(null);
    try {
      await act();
    } catch (error) {
      setFault(error);
    }
    await query.refetch();
  };
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  const mayWrite = may("configuration:write");
  return (
    <Panel title={text.systemConfiguration}>
      <Text size="sm" c="dimmed" mb="xs">{text.systemLead}</Text>
      {fault !== null && <Problem error={fault} retry={() => setFault(null)} />}
      <List name={text.systemConfiguration} minWidth={620} isLoading={query.isPending} columns={[text.name, text.value, ""]}>
        {query.data?.items.map((item) => (
          <Table.Tr key={item.key}>
            <Table.Td>{item.key}<Text size="xs" c="dimmed">{item.description}</Text></Table.Td>
            <Table.Td w={220}><Value item={item} isFixed={!mayWrite} save={(value) => attempt(() => amend(`/api/operations/configuration/${item.key}`, { value }))} /></Table.Td>
            <Table.Td w={110}>{item.is_changed && mayWrite && <Button size="compact-xs" variant="default" aria-label={`${text.reset} ${item.key}`} onClick={() => void attempt(() => remove(`/api/operations/configuration/${item.key}`))}>{text.reset}: {String(item.default)}</Button>}</Table.Td>
          </Table.Tr>
        ))}
      </List>
    </Panel>
  );
}

function Value({ item, isFixed, save }: { item: ConfigurationValue; isFixed: boolean; save: (value: boolean | number | string) => Promise<void> }) {
  const [typed, setTyped] = useState(String(item.value));
  useEffect(() => setTyped(String(item.value)), [item.value]);
  if (isFixed) return <>{String(item.value)}</>;
  if (typeof item.default === "boolean") return <Switch aria-label={item.key} checked={Boolean(item.value)} onChange={(event) => void save(event.currentTarget.checked)} />;
  const isNumber = typeof item.default === "number";
  return (
    <form onSubmit={(event) => { event.preventDefault(); void save(isNumber ? Number(typed) : typed); }}>
      <Group gap={6} wrap="nowrap">
        <TextInput size="xs" aria-label={item.key} inputMode={isNumber ? "decimal" : undefined} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />
        {typed !== String(item.value) && <Button size="compact-xs" type="submit" disabled={isNumber && (typed.trim() === "" || Number.isNaN(Number(typed)))}>{text.save}</Button>}
      </Group>
    </form>
  );
}
