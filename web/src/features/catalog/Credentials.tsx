import { Badge, Button, Group, Modal, NativeSelect, PasswordInput, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { amend, remove, send } from "../../api/client";
import type { EndpointHealth, ProviderCredential } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instant, moment } from "../../app/format";
import { gatewayText as words } from "../../app/gatewayText";
import { Confirm, List, Panel } from "../../app/parts";
import { text } from "../../app/text";
import { LearnedLimits } from "./LearnedLimits";

const FORMS = ["", "bearer", "x-api-key", "api-key", "x-goog-api-key", "x-subscription-token", "query_key", "basic", "none"];

/** What Nexus sends a provider. A secret goes in and never comes out: only how it begins, and a digest to recognise it by. */
export function Credentials({ provider, items, health }: { provider: string; items: ProviderCredential[]; health: EndpointHealth[] }) {
  const { zone, may } = useScene();
  const client = useQueryClient();
  const [isAdding, setAdding] = useState(false);
  const [rotated, setRotated] = useState<ProviderCredential | null>(null);
  const [removed, setRemoved] = useState<ProviderCredential | null>(null);
  const again = () => void client.invalidateQueries({ queryKey: ["credentials"] });
  const usedOf = (id: string) => {
    const at = health.filter((item) => item.credential_id === id).map((item) => item.at).sort().at(-1);
    return at ? moment(at, zone) : words.notUsed;
  };
  const mayManage = may("credential:manage");
  return (
    <Panel title={text.credentials} aside={mayManage && <Button size="compact-xs" onClick={() => setAdding(true)}>{text.addCredential}</Button>}>
      {!items.length ? <Text size="sm" c="dimmed">{text.noCredentials}</Text> : (
        <List name={text.credentials} minWidth={480} columns={[text.name, text.secret, words.lastUsed, text.status, ""]}>
          {items.flatMap((item) => [
            <Table.Tr key={item.id} className="over">
              <Table.Td>{item.name}<Text size="xs" c="dimmed">{words.weighs(item.weight)}</Text></Table.Td>
              <Table.Td><code>{item.prefix}…</code><Text size="xs" c="dimmed">{`sha256 ${item.secret_hash.slice(0, 8)}…`}</Text></Table.Td>
              <Table.Td>{usedOf(item.id)}</Table.Td>
              <Table.Td><Badge size="sm" variant="dot" miw="max-content" color={item.is_active ? "teal" : "gray"}>{item.is_active ? text.active : text.off}</Badge>{item.expires_at && <Text size="xs" c="dimmed">{text.until} {instant(item.expires_at, zone)}</Text>}</Table.Td>
              <Table.Td>
                {mayManage && (
                  <Group gap={6} wrap="nowrap" justify="flex-end">
                    <Button size="compact-xs" variant="default" aria-label={`${text.rotate} ${item.name}`} onClick={() => setRotated(item)}>{text.rotate}</Button>
                    <Button size="compact-xs" variant="default" className="bad" aria-label={`${text.removeMember} ${item.name}`} onClick={() => setRemoved(item)}>{text.removeMember}</Button>
                  </Group>
                )}
              </Table.Td>
            </Table.Tr>,
            <Table.Tr key={`${item.id} limits`}><Table.Td colSpan={5} pt={0}>{item.base_url && <Text size="xs" c="dimmed" mb={4} style={{ overflowWrap: "anywhere" }}>{words.sentTo} <code>{item.base_url}</code></Text>}<LearnedLimits credential={item} /></Table.Td></Table.Tr>,
          ])}
        </List>
      )}
      {isAdding && <Add provider={provider} onClose={() => setAdding(false)} onDone={() => { setAdding(false); again(); }} />}
      {rotated && <Rotate item={rotated} onClose={() => setRotated(null)} onDone={() => { setRotated(null); again(); }} />}
      <Confirm opened={removed !== null} title={text.removeMember} name={removed?.name} lead={text.removeCredential} onClose={() => setRemoved(null)} onDone={again} act={() => remove(`/api/identity/provider-credentials/${removed?.id}`)} />
    </Panel>
  );
}

function Add({ provider, onClose, onDone }: { provider: string; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");
  const [form, setForm] = useState("");
  const [url, setUrl] = useState("");
  const attempt = useAttempt();
  const { fault } = attempt;
  const submit = async () => {
    await send("/api/identity/provider-credentials", { provider, name, secret, auth_form: form, ...(url ? { base_url: url } : {}) });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={`${text.addCredential}: ${provider}`} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <TextInput autoFocus data-autofocus label={text.name} required maxLength={200} value={name} error={fault?.of("name")} onChange={(event) => setName(event.currentTarget.value)} />
          <PasswordInput label={text.secret} description={text.secretLead} required autoComplete="off" value={secret} error={fault?.of("secret")} onChange={(event) => setSecret(event.currentTarget.value)} />
          <NativeSelect label={text.sentAs} value={form} data={FORMS.map((value) => ({ value, label: value || text.asUsual }))} onChange={(event) => setForm(event.currentTarget.value)} />
          <TextInput label={text.otherUrl} type="url" placeholder="https://" value={url} error={fault?.of("base_url")} onChange={(event) => setUrl(event.currentTarget.value)} />
          {fault && !["name", "secret", "base_url"].some((field) => fault.of(field)) && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.save}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Rotate({ item, onClose, onDone }: { item: ProviderCredential; onClose: () => void; onDone: () => void }) {
  const [secret, setSecret] = useState("");
  const attempt = useAttempt();
  const submit = async () => {
    await amend(`/api/identity/provider-credentials/${item.id}`, { secret });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={`${text.rotate} ${item.name}`} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <Text size="sm">{text.rotateCredential}</Text>
          <PasswordInput autoFocus data-autofocus label={text.secret} description={text.secretLead} required autoComplete="off" value={secret} error={attempt.fault?.of("secret") ?? attempt.fault?.message} onChange={(event) => setSecret(event.currentTarget.value)} />
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.rotate}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
