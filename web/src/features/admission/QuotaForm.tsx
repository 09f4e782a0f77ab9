import { Alert, Autocomplete, Button, Group, Modal, Select, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useState } from "react";
import type { Quota, QuotaVersion, Scope } from "../../api/admission";
import { send } from "../../api/client";
import { useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instantOf, rfc } from "../../app/range";
import { text } from "../../app/text";
import { Difference } from "./Difference";
import { draftOf, specOf, type LimitDraft } from "./limitDraft";
import { LimitFields } from "./LimitFields";
import { useSubjects } from "./names";
import { quotaText as words } from "./quotaText";
import { useCheck } from "./useCheck";

const instantIn = (wall: string, zone: string): string | undefined => (wall ? rfc(instantOf(wall, zone)) : undefined);

/** Makes a quota, or publishes a version of one. While it is typed the server says what is wrong, and what would change. */
export function QuotaForm({ quota, onClose, onDone }: { quota: Quota | null; onClose: () => void; onDone: (id: string) => void }) {
  const { organization, currency, zone } = useScene();
  const isNarrow = useMediaQuery("(max-width: 48em)", undefined, { getInitialValueInEffect: false });
  const first = quota?.current?.limits ?? [];
  const [drafts, setDrafts] = useState<LimitDraft[]>(() => (first.length ? first : [{}]).map((spec, place) => draftOf(place, spec, currency)));
  const [name, setName] = useState(quota?.name ?? "");
  const [scope, setScope] = useState<Scope>(quota?.scope ?? "application");
  const [subject, setSubject] = useState("");
  const [provider, setProvider] = useState("");
  const [reason, setReason] = useState("");
  const [begins, setBegins] = useState("");
  const [ends, setEnds] = useState("");
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const [isTried, setTried] = useState(false);
  const { choices } = useSubjects();
  const attempt = useAttempt();
  const { fault } = attempt;

  const version = { limits: drafts.map(specOf), valid_from: instantIn(begins, zone), valid_to: instantIn(ends, zone) };
  const check = useCheck(organization, { ...version, quota_id: quota?.id });
  const touch = (field: string) => { if (!touched.has(field)) setTouched(new Set([...touched, field])); };
  // What was not come to yet is not found fault with.
  const ofVersion = (field: string) => (isTried || touched.has(field) ? check.faultOf(field) : undefined);
  const change = (id: number, part: Partial<LimitDraft>) => {
    setDrafts(drafts.map((item) => (item.id === id ? { ...item, ...part } : item)));
    for (const field of Object.keys(part)) touch(`${id}.${field}`);
  };
  const submit = async () => {
    if (quota) {
      await send<QuotaVersion>(`/api/admission/quotas/${quota.id}/versions`, { ...version, reason });
      onDone(quota.id);
    } else onDone((await send<Quota>("/api/admission/quotas", { ...version, reason, name: name.trim(), scope, subject: scope !== "organization" && subject.trim() ? subject.trim() : undefined, provider: scope === "model" && provider ? provider : undefined })).id);
  };
  const known = choices(scope);
  const isNamed = known.some((item) => item.value !== item.label);
  const typedFields = ["name", "scope", "subject", "provider", "reason", "valid_from", "valid_to"];
  const shown = fault && !typedFields.some((field) => fault.of(field)) && !fault.problem.errors?.some((item) => item.field.startsWith("limits"));
  return (
    <Modal opened onClose={onClose} fullScreen={isNarrow} size="xl" title={quota ? words.publishTitle(quota.name) : words.newQuota} closeButtonProps={{ "aria-label": text.close }} closeOnClickOutside={false}>
      <form noValidate onSubmit={(event) => { event.preventDefault(); setTried(true); void attempt.run(submit); }}>
        <Stack>
          {!quota && (
            <SimpleGrid cols={{ base: 1, sm: scope === "model" ? 4 : 3 }} spacing="sm">
              <TextInput size="xs" autoFocus data-autofocus label={text.name} description={words.nameLead} required value={name} error={fault?.of("name")} onChange={(event) => setName(event.currentTarget.value)} />
              <Select size="xs" label={words.scope} description={words.each[scope]} allowDeselect={false} value={scope} error={fault?.of("scope")} comboboxProps={{ withinPortal: false }} data={Object.entries(words.scopes).map(([value, label]) => ({ value, label }))} onChange={(value) => { setScope(value as Scope); setSubject(""); setProvider(""); }} />
              {scope !== "organization" && (isNamed ? (
                <Select size="xs" label={words.subject} description={words.subjectLead} clearable searchable value={subject || null} error={fault?.of("subject")} comboboxProps={{ withinPortal: false }} data={known} onChange={(value) => setSubject(value ?? "")} />
              ) : (
                <Autocomplete size="xs" label={words.subject} description={words.subjectLead} value={subject} error={fault?.of("subject")} comboboxProps={{ withinPortal: false }} data={known.map((item) => item.value)} limit={50} onChange={setSubject} />
              ))}
              {scope === "model" && <Select size="xs" label={words.atProvider} description={words.atProviderLead} clearable searchable value={provider || null} error={fault?.of("provider")} comboboxProps={{ withinPortal: false }} data={choices("provider")} onChange={(value) => setProvider(value ?? "")} />}
            </SimpleGrid>
          )}
          {drafts.map((draft, place) => (
            <LimitFields key={draft.id} draft={draft} number={place + 1} change={(part) => change(draft.id, part)} remove={drafts.length > 1 || quota ? () => setDrafts(drafts.filter((item) => item !== draft)) : undefined}
              faultOf={(field) => (isTried || touched.has(`${draft.id}.${field}`) ? check.faultOf(`limits.${place}.${field}`) : undefined)} />
          ))}
          <Group><Button size="xs" variant="default" onClick={() => setDrafts([...drafts, draftOf(Math.max(-1, ...drafts.map((item) => item.id)) + 1, {}, currency)])}>{words.addLimit}</Button></Group>
          <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
            <TextInput size="xs" type="datetime-local" label={`${words.begins} (${zone})`} description={words.beginsLead} value={begins} error={ofVersion("valid_from") ?? fault?.of("valid_from")} onChange={(event) => { touch("valid_from"); setBegins(event.currentTarget.value); }} />
            <TextInput size="xs" type="datetime-local" label={`${words.ends} (${zone})`} description={words.endsLead} value={ends} error={ofVersion("valid_to") ?? fault?.of("valid_to")} onChange={(event) => { touch("valid_to"); setEnds(event.currentTarget.value); }} />
          </SimpleGrid>
          <section aria-label={words.willChange}>
            <Text size="sm" fw={600} mb={4}>{words.willChange}</Text>
            {check.preview ? (
              <>
                <Text size="xs" c="dimmed" mb={4}>{words.against(check.preview.against_version)}</Text>
                {check.preview.changes.length ? <Difference name={words.willChange} changes={check.preview.changes} /> : <Text size="sm" c="dimmed">{words.willNot}</Text>}
              </>
            ) : <Text size="sm" c="dimmed" role="status">{!check.error || check.isPending ? words.checking : isTried || touched.size > 0 ? check.error.message : words.notYet}</Text>}
          </section>
          <TextInput size="xs" label={words.reason} description={words.reasonLead} required maxLength={1000} value={reason} error={fault?.of("reason")} onChange={(event) => setReason(event.currentTarget.value)} />
          {shown && <Alert color="red" variant="light" role="alert">{fault.message}</Alert>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{quota ? words.send : text.create}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
