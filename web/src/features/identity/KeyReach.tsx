import { Button, Group, Modal, Skeleton, Stack, TagsInput, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { put, read } from "../../api/client";
import type { AccessKey } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { keyText } from "../../app/keyText";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";

interface Reach { providers: string[] | null; models: string[] | null; endpoints: string[] | null; mcp_servers: string[] | null; mcp_tools: string[] | null }

const FIELDS = [
  { name: "providers", label: keyText.providers, hint: keyText.providersHint },
  { name: "models", label: keyText.models, hint: keyText.modelsHint },
  { name: "endpoints", label: keyText.endpoints, hint: keyText.endpointsHint },
  { name: "mcp_servers", label: keyText.mcpServers, hint: keyText.mcpServersHint },
  { name: "mcp_tools", label: keyText.mcpTools, hint: keyText.mcpToolsHint },
] as const;

/** Which providers, models, endpoints, MCP servers and tools one access key may use through the gateway: read anew each time, since it is filled into fields. */
export function KeyReach({ item, onClose }: { item: AccessKey; onClose: () => void }) {
  const { organization } = useScene();
  const place = `/api/identity/access-keys/${item.id}/gateway-reach`;
  const query = useQuery({ queryKey: ["keys", organization, "reach", item.id], gcTime: 0, queryFn: ({ signal }) => read<Reach>(place, {}, signal) });
  return (
    <Modal opened onClose={onClose} title={`${keyText.may}: ${item.name}`} closeButtonProps={{ "aria-label": text.close }}>
      {query.isError ? <Problem error={query.error} retry={() => void query.refetch()} /> : query.data ? <Form place={place} reach={query.data} onClose={onClose} /> : <Skeleton height={220} />}
    </Modal>
  );
}

function Form({ place, reach, onClose }: { place: string; reach: Reach; onClose: () => void }) {
  const { may } = useScene();
  const [draft, setDraft] = useState(reach);
  const attempt = useAttempt();
  const mayChange = may("key:revoke");
  const submit = async () => {
    await put(place, draft);
    onClose();
  };
  return (
    <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
      <Stack>
        <Text size="sm">{keyText.mayLead}</Text>
        {FIELDS.map(({ name, label, hint }) => (
          <TagsInput key={name} label={label} description={hint} value={draft[name] ?? []} disabled={!mayChange} error={attempt.fault?.of(name)} clearable splitChars={[",", " "]} acceptValueOnBlur
            clearButtonProps={{ "aria-label": keyText.empty(label) }} onChange={(values) => setDraft({ ...draft, [name]: values.length ? values : null })} />
        ))}
        {attempt.fault && !attempt.fault.problem.errors?.length && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>{mayChange ? text.cancel : text.close}</Button>
          {mayChange && <Button type="submit" loading={attempt.busy}>{text.save}</Button>}
        </Group>
      </Stack>
    </form>
  );
}
