import { Button, Checkbox, Group, NumberInput, Select, Skeleton, Stack, Switch, TagsInput, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { put, read, remove } from "../../api/client";
import type { BodySettingsInForce } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { bodyText } from "../../app/bodyText";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { Confirm, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";

const PATH = "/api/metering/body-settings";
const SIZES = [4096, 16_384, 65_536, 262_144, 1_048_576];
const MASKS = ["email", "phone", "card", "iban", "ip"] as const;

/** What an organization wants kept of the bodies of its calls: nothing, unless somebody turns it on here. */
export function BodySettings() {
  const { organization } = useScene();
  const query = useQuery({ queryKey: ["body-settings", organization], queryFn: () => read<BodySettingsInForce>(PATH) });
  if (query.isError) return <Problem error={query.error} retry={() => void query.refetch()} />;
  return query.data ? <Form key={organization} known={query.data} /> : <Skeleton h={420} />;
}

/** Begins with what is known; what is typed meanwhile is never overwritten by an answer. */
function Form({ known }: { known: BodySettingsInForce }) {
  const { organization, zone } = useScene();
  const client = useQueryClient();
  const [draft, setDraft] = useState(known);
  const [isSaved, setSaved] = useState(false);
  const [isPurging, setPurging] = useState(false);
  const [isPurged, setPurged] = useState(false);
  const attempt = useAttempt();
  const { fault } = attempt;
  const set = <K extends keyof BodySettingsInForce>(name: K, value: BodySettingsInForce[K]) => { setDraft((now) => ({ ...now, [name]: value })); setSaved(false); };
  const submit = async () => {
    setSaved(false);
    const { is_on, share, max_body_bytes, keep_days, only_failed, providers, masks, fields, words } = draft;
    await put(PATH, { is_on, share, max_body_bytes, keep_days, only_failed, providers, masks, fields, words });
    setSaved(true);
    await client.invalidateQueries({ queryKey: ["body-settings"] });
  };
  const of = (field: string) => fault?.problem.errors?.find((item) => item.field === field || item.field.startsWith(`${field}.`) || item.field.startsWith(`${field}[`))?.message;
  const sizes = [...new Set([...SIZES, draft.max_body_bytes])].sort((first, second) => first - second);
  return (
    <Panel title={bodyText.settings}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          <Text size="sm" c="dimmed">{bodyText.settingsLead}</Text>
          <div>
            <Switch label={bodyText.isOn} checked={draft.is_on} onChange={(event) => set("is_on", event.currentTarget.checked)} />
            <Text size="xs" c="dimmed" mt={4}>{known.is_on && known.on_since ? bodyText.onSince(instant(known.on_since, zone)) : bodyText.isOff} {known.purged_at && bodyText.purged(instant(known.purged_at, zone))}</Text>
          </div>
          <Group grow align="start" preventGrowOverflow={false}>
            <NumberInput label={bodyText.share} description={bodyText.shareLead} min={0.01} max={100} decimalScale={4} hideControls suffix=" %" value={+(draft.share * 100).toFixed(4)} error={of("share")} onChange={(value) => set("share", Number(value) / 100)} />
            <Select label={bodyText.size} description={bodyText.sizeLead} allowDeselect={false} value={String(draft.max_body_bytes)} error={of("max_body_bytes")} data={sizes.map((bytes) => ({ value: String(bytes), label: `${bytes / 1024}\u202fKiB` }))} onChange={(value) => set("max_body_bytes", Number(value))} />
            <NumberInput label={bodyText.days} description={bodyText.daysLead} min={1} max={90} allowDecimal={false} value={draft.keep_days} error={of("keep_days")} onChange={(value) => set("keep_days", Number(value))} />
          </Group>
          <Switch label={bodyText.onlyFailed} checked={draft.only_failed} onChange={(event) => set("only_failed", event.currentTarget.checked)} />
          <TagsInput label={bodyText.providers} description={bodyText.providersLead} value={draft.providers ?? []} error={of("providers")} onChange={(value) => set("providers", value.length ? value : null)} />
          <Checkbox.Group label={bodyText.masks} value={draft.masks} onChange={(value) => set("masks", value)}>
            <Group gap="md" mt={6}>
              <Text size="sm">{bodyText.secrets}</Text>
              {MASKS.map((mask) => <Checkbox key={mask} value={mask} label={bodyText.mask[mask]} />)}
            </Group>
          </Checkbox.Group>
          <TagsInput label={bodyText.fields} description={bodyText.fieldsLead} value={draft.fields} error={of("fields")} onChange={(value) => set("fields", value)} />
          <TagsInput label={bodyText.words} description={bodyText.wordsLead} splitChars={[]} value={draft.words} error={of("words")} onChange={(value) => set("words", value)} />
          <Group gap="sm" justify="space-between">
            <Group gap="sm">
              <Button size="xs" type="submit" loading={attempt.busy}>{text.save}</Button>
              {isSaved && <Text size="sm" className="good" role="status">{text.saved}</Text>}
              {fault && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
            </Group>
            <Group gap="sm">
              {isPurged && <Text size="sm" className="good" role="status">{bodyText.purgedNow}</Text>}
              <Button size="xs" variant="default" color="red" onClick={() => setPurging(true)}>{bodyText.purge}</Button>
            </Group>
          </Group>
        </Stack>
      </form>
      <Confirm title={bodyText.purge} lead={bodyText.purgeLead} name={organization} act={() => remove("/api/metering/bodies")} opened={isPurging} onClose={() => setPurging(false)} onDone={() => { setPurged(true); void client.invalidateQueries({ queryKey: ["body-settings"] }); }} />
    </Panel>
  );
}
