import { Anchor, Button, Group, Modal, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { ProviderLimit } from "../../api/admission";
import { put, read } from "../../api/client";
import type { Provider } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count } from "../../app/format";
import { List, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { rateText as words } from "./rateText";

type Known = Pick<ProviderLimit, "scope" | "subject" | "requests_per_minute" | "tokens_per_minute">;

/** What the account at a provider, or one of its models, may be asked a minute: limits of the same engine as all others. */
export function ProviderRates({ provider }: { provider: Provider }) {
  const { organization, may, go } = useScene();
  const client = useQueryClient();
  const [edited, setEdited] = useState<Known | null>(null);
  const query = useQuery({ queryKey: ["provider-limits", organization], queryFn: ({ signal }) => read<ProviderLimit[]>("/api/admission/provider-limits", {}, signal) });
  const rows = (query.data ?? []).filter((item) => item.provider === provider.slug && (item.requests_per_minute !== null || item.tokens_per_minute !== null));
  const fresh: Known = { scope: "provider", subject: provider.slug, requests_per_minute: provider.requests_per_minute, tokens_per_minute: provider.tokens_per_minute };
  const isPublished = provider.requests_per_minute !== null || provider.tokens_per_minute !== null;
  return (
    <Panel title={words.title} aside={may("quota:update") && <Button size="compact-xs" variant="default" onClick={() => setEdited(rows.some((item) => item.scope === "provider") ? { ...fresh, scope: "model", subject: "", requests_per_minute: null, tokens_per_minute: null } : fresh)}>{words.set}</Button>}>
      <Text size="xs" c="dimmed">{words.lead}{isPublished && ` ${words.published(provider.requests_per_minute === null ? "" : count(provider.requests_per_minute), provider.tokens_per_minute === null ? "" : count(provider.tokens_per_minute))}`}</Text>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data && !rows.length ? <Text size="sm" mt={6}>{words.none}</Text> : (
        <List name={words.title} minWidth={420} isLoading={query.isPending} columns={[words.whose, { name: words.requests, right: true }, { name: words.tokens, right: true }, ""]}>
          {rows.map((item) => (
            <Table.Tr key={item.quota_id} data-rate={item.subject}>
              <Table.Td>{item.scope === "provider" ? words.all : item.subject}<Text size="xs" c="dimmed" title={item.reason}>{item.author}</Text></Table.Td>
              <Table.Td className="right">{item.requests_per_minute === null ? words.unlimited : count(item.requests_per_minute)}</Table.Td>
              <Table.Td className="right">{item.tokens_per_minute === null ? words.unlimited : count(item.tokens_per_minute)}</Table.Td>
              <Table.Td>
                <Group gap={6} wrap="nowrap" justify="flex-end">
                  {may("quota:update") && <Button size="compact-xs" variant="default" aria-label={`${words.change} ${item.subject}`} onClick={() => setEdited(item)}>{words.change}</Button>}
                  <Anchor size="xs" href={`/quotas/${item.quota_id}`} onClick={(event) => { event.preventDefault(); go({ q: undefined }, `/quotas/${item.quota_id}`); }}>{words.history}</Anchor>
                </Group>
              </Table.Td>
            </Table.Tr>
          ))}
        </List>
      )}
      {edited && <Edit provider={provider.slug} known={edited} onClose={() => setEdited(null)} onDone={() => { setEdited(null); void client.invalidateQueries({ queryKey: ["provider-limits"] }); void client.invalidateQueries({ queryKey: ["quotas"] }); }} />}
    </Panel>
  );
}

function Edit({ provider, known, onClose, onDone }: { provider: string; known: Known; onClose: () => void; onDone: () => void }) {
  const attempt = useAttempt();
  const [model, setModel] = useState(known.scope === "model" ? known.subject : "");
  const [requests, setRequests] = useState(known.requests_per_minute?.toString() ?? "");
  const [tokens, setTokens] = useState(known.tokens_per_minute?.toString() ?? "");
  const [reason, setReason] = useState<string>(words.usual);
  const isRate = (value: string) => /^[1-9]\d{0,11}$/.test(value) || value === "";
  const rateOf = (value: string) => (value === "" ? null : Number(value));
  const faultOf = (field: string) => attempt.fault?.of(field);
  const save = async () => {
    await put(`/api/admission/provider-limits/${encodeURIComponent(provider)}`, { model: model.trim(), requests_per_minute: rateOf(requests), tokens_per_minute: rateOf(tokens), reason });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={`${words.set}: ${provider}`} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, save)}>
        <Stack>
          <TextInput label={words.model} description={words.modelLead} value={model} maxLength={300} error={faultOf("model")} readOnly={known.scope === "model" && known.subject !== ""} onChange={(event) => setModel(event.currentTarget.value)} />
          <TextInput label={words.requests} description={words.nothing} inputMode="numeric" autoFocus data-autofocus value={requests} error={isRate(requests) ? faultOf("requests_per_minute") : words.whole} onChange={(event) => setRequests(event.currentTarget.value.trim())} />
          <TextInput label={words.tokens} description={words.nothing} inputMode="numeric" value={tokens} error={isRate(tokens) ? faultOf("tokens_per_minute") : words.whole} onChange={(event) => setTokens(event.currentTarget.value.trim())} />
          <TextInput label={words.reason} description={words.reasonLead} required value={reason} maxLength={1000} onChange={(event) => setReason(event.currentTarget.value)} />
          {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy} disabled={!isRate(requests) || !isRate(tokens) || !reason.trim()}>{words.save}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
