import { Autocomplete, Button, Group, Modal, NumberInput, Stack, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { amend, read, send } from "../../api/client";
import type { Model, ModelRoute, Page } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { gatewayText as words } from "../../app/gatewayText";
import { text } from "../../app/text";

/** Add a way of an alias, or change one. */
export function RouteForm({ route, alias: given, providers, onClose, onDone }: { route: ModelRoute | null; alias?: string; providers: string[]; onClose: () => void; onDone: () => void }) {
  const [alias, setAlias] = useState(route?.alias ?? given ?? "");
  const [provider, setProvider] = useState(route?.provider ?? "");
  const [model, setModel] = useState(route?.model ?? "");
  const [priority, setPriority] = useState<number | string>(route?.priority ?? 0);
  const [weight, setWeight] = useState<number | string>(route?.weight ?? 1);
  const attempt = useAttempt();
  const { fault } = attempt;
  const [asked] = useDebouncedValue(provider, 200);
  const models = useQuery({ queryKey: ["models", asked], enabled: asked !== "", staleTime: 60_000, queryFn: ({ signal }) => read<Page<Model>>("/api/catalog/models", { provider: asked, limit: "500" }, signal) });
  const submit = async () => {
    const body = { alias: alias.trim(), provider: provider.trim(), model: model.trim(), priority: Number(priority), weight: Number(weight) };
    await (route ? amend(`/api/catalog/model-routes/${route.id}`, body) : send("/api/catalog/model-routes", body));
    onDone();
  };
  const named = ["alias", "provider", "model", "priority", "weight"];
  return (
    <Modal opened onClose={onClose} title={route ? `${words.edit} ${route.alias}` : words.addRoute} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <TextInput autoFocus data-autofocus label={words.alias} description={words.aliasLead} required maxLength={128} value={alias} error={fault?.of("alias")} onChange={(event) => setAlias(event.currentTarget.value)} />
          <Autocomplete label={text.provider} description={words.providerLead} required data={providers} value={provider} error={fault?.of("provider")} onChange={setProvider} comboboxProps={{ withinPortal: false }} />
          <Autocomplete label={text.model} description={words.modelLead} required data={[...new Set(models.data?.items.map((item) => item.slug))]} limit={30} value={model} error={fault?.of("model")} onChange={setModel} comboboxProps={{ withinPortal: false }} />
          <Group grow align="start">
            <NumberInput label={words.priority} description={words.priorityLead} required min={0} max={1000} allowDecimal={false} value={priority} error={fault?.of("priority")} onChange={setPriority} />
            <NumberInput label={words.weight} description={words.weightLead} required min={0} max={1000} allowDecimal={false} value={weight} error={fault?.of("weight")} onChange={setWeight} />
          </Group>
          {fault && !named.some((field) => fault.of(field)) && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.save}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
