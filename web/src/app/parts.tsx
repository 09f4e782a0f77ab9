// Small parts that several pages are made of.
import { Button, Code, CopyButton, Group, Modal, Paper, Skeleton, Stack, Table, Text, TextInput, Title, UnstyledButton } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { useAttempt } from "./attempt";
import { text } from "./text";

export function Heading({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <Group justify="space-between" align="center" gap="sm">
      <Title order={1} size="h3">{title}</Title>
      <Group gap="sm">{children}</Group>
    </Group>
  );
}

export function Panel({ title, children, aside }: { title?: string; children: ReactNode; aside?: ReactNode }) {
  return (
    <Paper withBorder p="sm" radius="md">
      {title && <Group justify="space-between" mb={6}><Title order={2} size="h6">{title}</Title>{aside}</Group>}
      {children}
    </Paper>
  );
}

export interface Column { name: string; right?: boolean; sort?: string }

/** A list with its columns; while it is loaded, as many rows of the same height. Rows of the question before are shown paler. */
export function List({ name, columns, isLoading, isStale, sort, onSort, children, minWidth = 640 }: {
  name: string; columns: (string | Column)[]; isLoading?: boolean; isStale?: boolean; children: ReactNode; minWidth?: number;
  /** By what the rows are sorted, with `-` where the largest come first. */
  sort?: string; onSort?: (sort: string) => void;
}) {
  return (
    <Table.ScrollContainer minWidth={minWidth} type="native" tabIndex={0} role="group" aria-label={name}>
      <Table highlightOnHover verticalSpacing={6} aria-label={name} aria-busy={Boolean(isLoading || isStale)} className={isStale ? "stale" : undefined}>
        <Table.Thead>
          <Table.Tr>
            {columns.map((column, place) => {
              const { name: label, right, sort: by } = typeof column === "string" ? { name: column } as Column : column;
              if (!label) return <Table.Td key={place} />;
              const order = by && sort?.replace("-", "") === by ? (sort.startsWith("-") ? "descending" : "ascending") : undefined;
              return (
                <Table.Th key={label} className={right ? "right" : undefined} aria-sort={order}>
                  {by && onSort ? <UnstyledButton fz="inherit" fw="inherit" className="sorter" onClick={() => onSort(order === "descending" ? by : `-${by}`)}>{label}<span aria-hidden>{order === "descending" ? " ↓" : order ? " ↑" : ""}</span></UnstyledButton> : label}
                </Table.Th>
              );
            })}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {children}
          {isLoading && Array.from({ length: 6 }, (_, row) => <Table.Tr key={row}><Table.Td colSpan={columns.length}><Skeleton h={18} /></Table.Td></Table.Tr>)}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

/** What an empty page is for, and how to begin. */
export function Teach({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Paper withBorder p="lg" radius="md">
      <Title order={2} size="h4" mb={6}>{title}</Title>
      <Text size="sm" c="dimmed" component="div">{children}</Text>
    </Paper>
  );
}

export function Copyable({ value, label }: { value: string; label?: string }) {
  return (
    <Group gap={6} wrap="nowrap">
      <Code style={{ overflowWrap: "anywhere" }}>{label ?? value}</Code>
      <CopyButton value={value}>{({ copied, copy }) => <Button size="compact-xs" variant="default" onClick={copy}>{copied ? text.copied : text.copy}</Button>}</CopyButton>
    </Group>
  );
}

/** A secret at the only moment at which it can be seen. */
export function Once({ title, lead, value, onClose }: { title: string; lead: string; value: string | null; onClose: () => void }) {
  return (
    <Modal opened={value !== null} onClose={onClose} title={title} closeOnClickOutside={false} closeButtonProps={{ "aria-label": text.close }}>
      <Stack>
        <Text size="sm">{lead}</Text>
        <div data-secret><Copyable value={value ?? ""} /></div>
        <Group justify="flex-end"><Button onClick={onClose}>{text.done}</Button></Group>
      </Stack>
    </Modal>
  );
}

/** Asks before what cannot be undone; its name has to be typed where much hangs on it. */
export function Confirm({ title, lead, name, act, opened, onClose, onDone }: {
  title: string; lead: string; name?: string; act: () => Promise<unknown>; opened: boolean; onClose: () => void; onDone: () => void;
}) {
  const [typed, setTyped] = useState("");
  const attempt = useAttempt();
  const close = () => {
    setTyped("");
    attempt.forget();
    onClose();
  };
  const run = async () => {
    await act();
    onDone();
    close();
  };
  return (
    <Modal opened={opened} onClose={close} title={title} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => { event.preventDefault(); if (!name || typed === name) void attempt.run(run); }}>
        <Stack>
          <Text size="sm">{lead}</Text>
          {name && <TextInput autoFocus data-autofocus label={text.typeName(name)} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />}
          {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={close}>{text.cancel}</Button><Button type="submit" color="red" loading={attempt.busy} disabled={Boolean(name) && typed !== name}>{title}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
