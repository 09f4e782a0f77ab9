import { Button, Group, Modal, NativeSelect, Paper, Stack, Switch, Text, Textarea, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { amend, ApiError, send } from "../../api/client";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instant, money, percent } from "../../app/format";
import { text } from "../../app/text";
import { bodyOf, draftOf, type Draft } from "./drafts";
import type { Budget, Preview } from "./types";
import { words } from "./words";

const chosen = (names: Record<string, string>) => Object.entries(names).map(([value, label]) => ({ value, label }));

/** Make a budget or change one: checked by the server as it is typed, with what it will be beside it. */
export function BudgetForm({ budget, onClose, onDone }: { budget: Budget | null; onClose: () => void; onDone: () => void }) {
  const { currency, organization, zone: shownIn } = useScene();
  const [draft, setDraft] = useState<Draft>(() => draftOf(budget, currency));
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const set = (change: Partial<Draft>) => {
    setDraft((before) => ({ ...before, ...change }));
    setTouched((before) => new Set([...before, ...Object.keys(change)]));
  };
  const attempt = useAttempt();
  const body = bodyOf(draft, budget);
  const [asked] = useDebouncedValue(JSON.stringify({ ...body, name: draft.name || "unnamed", reason: draft.reason || "not said yet" }), 250);
  const tried = useQuery({
    queryKey: ["costs", organization, "preview", budget?.id, asked], enabled: draft.amount !== "", retry: false, placeholderData: keepPreviousData,
    queryFn: () => send<Preview>("/api/costs/budgets/preview", budget ? { budget_id: budget.id, change: JSON.parse(asked) as unknown } : { new: JSON.parse(asked) as unknown }),
  });
  const told = tried.error ? ApiError.from(tried.error) : null;
  /** What is wrong with a field, once it was touched or the form was sent. */
  const of = (field: string) => {
    const found = [attempt.fault, touched.has(field) ? told : null].flatMap((error) => error?.problem.errors ?? []).find((fault) => fault.field.replace(/^(new|change)\./, "").split(".")[0] === field);
    return found?.message;
  };
  const submit = async () => {
    await (budget ? amend(`/api/costs/budgets/${budget.id}`, body) : send("/api/costs/budgets", body));
    onDone();
  };
  const preview = tried.isError ? undefined : tried.data;
  const named = ["name", "amount", "currency", "scope", "subject", "period", "begins_on", "zone", "thresholds", "failure", "description", "reason"];
  return (
    <Modal opened onClose={onClose} size="lg" title={budget ? `${words.edit} ${budget.name}` : words.add} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <TextInput autoFocus data-autofocus label={words.name} required maxLength={63} value={draft.name} error={of("name")} onChange={(event) => set({ name: event.currentTarget.value })} />
          <Group grow align="start">
            <TextInput label={words.amount} required inputMode="decimal" value={draft.amount} error={of("amount")} onChange={(event) => set({ amount: event.currentTarget.value })} />
            <TextInput label={words.currency} required maxLength={3} value={draft.currency} error={of("currency")} onChange={(event) => set({ currency: event.currentTarget.value.toUpperCase() })} />
            <NativeSelect label={words.period} data={chosen(words.periods)} value={draft.period} onChange={(event) => set({ period: event.currentTarget.value })} />
          </Group>
          <Group grow align="start">
            <NativeSelect label={words.whose} data={chosen(words.scopes)} value={draft.scope} onChange={(event) => set({ scope: event.currentTarget.value, ...(event.currentTarget.value === "organization" ? { subject: "" } : {}) })} />
            {draft.scope !== "organization" && <TextInput label={words.subject} description={draft.scope === "tag" ? words.tagLead : ["key", "user"].includes(draft.scope) ? `${words.idLead}; ${words.subjectLead}` : words.subjectLead} value={draft.subject} error={of("subject")} onChange={(event) => set({ subject: event.currentTarget.value })} />}
          </Group>
          <Group grow align="start">
            <TextInput label={words.beginsOn} description={words.beginsLead} type="date" value={draft.beginsOn} error={of("begins_on")} onChange={(event) => set({ beginsOn: event.currentTarget.value })} />
            <TextInput label={words.zone} description={words.zoneLead} value={draft.zone} error={of("zone")} onChange={(event) => set({ zone: event.currentTarget.value })} />
          </Group>
          <TextInput label={words.thresholds} description={words.thresholdsLead} value={draft.thresholds} error={of("thresholds")} onChange={(event) => set({ thresholds: event.currentTarget.value })} />
          <Switch label={words.pausesLabel} description={words.pausesLead} checked={draft.pauses} onChange={(event) => set({ pauses: event.currentTarget.checked })} />
          {draft.pauses && <NativeSelect label={words.failure} data={chosen(words.failures)} value={draft.failure} onChange={(event) => set({ failure: event.currentTarget.value })} />}
          {budget && <Switch label={words.active} checked={draft.isActive} onChange={(event) => set({ isActive: event.currentTarget.checked })} />}
          <Textarea label={words.description} autosize maxRows={3} maxLength={1000} value={draft.description} error={of("description")} onChange={(event) => set({ description: event.currentTarget.value })} />
          <TextInput label={words.reason} description={words.reasonLead} required maxLength={1000} value={draft.reason} error={of("reason")} onChange={(event) => set({ reason: event.currentTarget.value })} />
          {preview && (
            <Paper withBorder p="sm" radius="md" aria-label={words.willBe} role="group" data-preview>
              <Text size="sm" fw={600}>{words.willBe}</Text>
              <Text size="sm">{words.periodIs(instant(preview.period_starts_at, shownIn).slice(0, -3), instant(preview.period_ends_at, shownIn).slice(0, -3))} {words.spentAlready(money(preview.standing.spent, draft.currency), percent(preview.standing.fraction))}</Text>
              {preview.will_pause && <Text size="sm" className="bad">{words.willPause}</Text>}
              {preview.changes.map((change) => <Text size="sm" key={change.field}>{change.field.replaceAll("_", " ")}: {words.changesTo(change.before ?? words.nothing, change.after ?? words.nothing)}</Text>)}
            </Paper>
          )}
          {attempt.fault && !named.some((field) => of(field)) && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.save}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
