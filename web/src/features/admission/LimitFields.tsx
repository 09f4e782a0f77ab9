import { Button, Fieldset, Group, Select, SimpleGrid, Switch, TextInput } from "@mantine/core";
import type { Dimension } from "../../api/admission";
import { text } from "../../app/text";
import { isBucket, methodsOf, type LimitDraft } from "./limitDraft";
import { quotaText as words } from "./quotaText";

const optionsOf = (names: Record<string, string>, among = Object.keys(names)) => among.map((value) => ({ value, label: names[value] ?? value }));
const inside = { withinPortal: false };

/** The fields of one limit: those that its way of limiting has. `faultOf` gives the server's word on a field. */
export function LimitFields({ draft, number, faultOf, change, remove }: {
  draft: LimitDraft; number: number; faultOf: (field: string) => string | undefined; change: (part: Partial<LimitDraft>) => void; remove?: () => void;
}) {
  const typed = (field: keyof LimitDraft, label: string, more: { description?: string; required?: boolean; placeholder?: string } = {}) => (
    <TextInput size="xs" label={label} value={String(draft[field])} error={faultOf(field)} onChange={(event) => change({ [field]: event.currentTarget.value })} {...more} />
  );
  const chosen = (field: keyof LimitDraft, label: string, data: { value: string; label: string }[], onChange?: (value: string) => void) => (
    <Select size="xs" label={label} allowDeselect={false} value={String(draft[field])} error={faultOf(field)} data={data} comboboxProps={inside} onChange={(value) => value !== null && (onChange ? onChange(value) : change({ [field]: value }))} />
  );
  const bucket = isBucket(draft.method), window = draft.method === "fixed_window";
  const turn = (value: string) => change({ dimension: value as Dimension, method: methodsOf(value as Dimension)[0] });
  return (
    <Fieldset legend={draft.name || words.limit(number)} p="sm" data-limit={number}>
      <SimpleGrid cols={{ base: 1, xs: 2, sm: 3 }} spacing="sm" verticalSpacing="xs">
        {typed("name", text.name, { required: true })}
        {chosen("dimension", words.dimension, optionsOf(words.dimensions), turn)}
        {chosen("method", words.method, optionsOf(words.methods, methodsOf(draft.dimension)))}
        {bucket && typed("rate", words.rate, { required: true })}
        {bucket && chosen("per", words.per, optionsOf(words.perName))}
        {!bucket && typed("amount", words.amount, { required: true })}
        {window && chosen("period", words.period, optionsOf(words.periodName))}
        {draft.dimension === "money" && typed("currency", words.currency, { required: true })}
        {window && typed("zone", text.zone, { description: words.zoneLead, placeholder: "UTC" })}
        {bucket && typed("burst", words.burst, { description: words.burstLead })}
        {bucket && draft.burst.trim() !== "" && typed("burst_seconds", words.burstSeconds, { placeholder: "60" })}
        {bucket && typed("capacity", words.capacity, { description: words.capacityLead })}
        {typed("reserve", words.reserve, { description: words.reserveLead, placeholder: "0" })}
        {chosen("failure", words.failure, optionsOf(words.failures))}
      </SimpleGrid>
      <Group justify="space-between" mt="sm">
        <Switch size="sm" label={words.shadowSwitch} description={words.shadowLead} checked={draft.shadow} onChange={(event) => change({ shadow: event.currentTarget.checked })} />
        {remove && <Button size="compact-xs" variant="default" className="bad" onClick={remove}>{words.removeLimit(draft.name || words.limit(number))}</Button>}
      </Group>
    </Fieldset>
  );
}
