import { Button, Group, Modal, NativeSelect, NumberInput, PasswordInput, Stack, Switch, Text, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { amend, send } from "../../api/client";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { mcpServerText as words } from "../../app/mcpServerText";
import { text } from "../../app/text";
import { linesOf, pairsOf, type McpServer } from "./servers";

const FIELDS = ["name", "description", "url", "command", "auth_form", "secret", "environment", "timeout_seconds", "price", "tool_prices"];

/** Add a server, or change one: what is secret is never filled in, and stays when nothing is given. */
export function ServerForm({ server, onClose, onDone }: { server: McpServer | null; onClose: () => void; onDone: () => void }) {
  const { may } = useScene();
  const [draft, setDraft] = useState({
    name: server?.name ?? "", description: server?.description ?? "", url: server?.url ?? "", command: (server?.command ?? []).join("\n"), auth_form: server?.auth_form ?? "bearer", secret: "", environment: "",
    timeout: server?.timeout_seconds ?? 300, price: server?.price ?? "", tool_prices: linesOf(server?.tool_prices ?? {}), is_enabled: server?.is_enabled ?? true,
  });
  const [transport, setTransport] = useState<string>(server?.transport ?? "streamable_http");
  const [faulty, setFaulty] = useState<string | null>(null);
  const attempt = useAttempt();
  const { fault } = attempt;
  const isProgram = transport === "stdio";
  const mayRun = may("mcp_server:run");
  const set = (changes: Partial<typeof draft>) => {
    setDraft({ ...draft, ...changes });
    setFaulty(null);
  };
  const of = (field: string) => (faulty === field ? words.noPair : fault?.of(field));
  const submit = async () => {
    const [prices, environment] = [pairsOf(draft.tool_prices), pairsOf(draft.environment)];
    setFaulty(prices === null ? "tool_prices" : environment === null ? "environment" : null);
    if (prices === null || environment === null) return;
    const way = isProgram
      ? { ...(mayRun ? { command: draft.command.split("\n").map((part) => part.trim()).filter(Boolean) } : {}), ...(Object.keys(environment).length ? { environment } : {}) }
      : { url: draft.url.trim(), auth_form: draft.auth_form, ...(draft.secret ? { secret: draft.secret } : draft.auth_form === "none" && server?.prefix ? { secret: null } : {}) };
    const enabled = server && server.is_enabled === draft.is_enabled ? {} : { is_enabled: draft.is_enabled };
    const common = { name: draft.name.trim(), description: draft.description, timeout_seconds: draft.timeout, price: draft.price.trim() || null, tool_prices: prices, ...way, ...enabled };
    await (server ? amend(`/api/mcp/gateway-servers/${server.id}`, common) : send("/api/mcp/gateway-servers", { ...common, transport, ...(isProgram || draft.auth_form !== "none" ? {} : { auth_form: "none" }) }));
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={server ? `${words.edit} ${server.name}` : words.add} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          <TextInput data-autofocus label={text.name} description={words.nameHint} required maxLength={40} value={draft.name} error={of("name")} onChange={(event) => set({ name: event.currentTarget.value })} />
          {!server && mayRun && <NativeSelect label={words.transport} value={transport} data={[{ value: "streamable_http", label: words.http }, { value: "stdio", label: words.stdio }]} error={of("transport")} onChange={(event) => setTransport(event.currentTarget.value)} />}
          {isProgram ? (
            <>
              <Textarea label={words.command} description={words.commandHint} required disabled={!mayRun} autosize minRows={2} maxRows={8} value={draft.command} error={of("command")} onChange={(event) => set({ command: event.currentTarget.value })} />
              <Textarea label={words.variables} description={server?.variables.length ? words.variablesKept(server.variables.join(", ")) : words.variablesHint} disabled={!mayRun} autosize minRows={2} maxRows={8} autoComplete="off" value={draft.environment} error={of("environment")} onChange={(event) => set({ environment: event.currentTarget.value })} />
            </>
          ) : (
            <>
              <TextInput label={words.url} description={words.urlHint} type="url" required placeholder="https://" value={draft.url} error={of("url")} onChange={(event) => set({ url: event.currentTarget.value })} />
              <NativeSelect label={words.sentAs} value={draft.auth_form} data={Object.entries(words.forms).map(([value, label]) => ({ value, label }))} error={of("auth_form")} onChange={(event) => set({ auth_form: event.currentTarget.value })} />
              {draft.auth_form !== "none" && <PasswordInput label={words.secret} description={server?.prefix ? words.secretKept : words.secretHint} required={!server?.prefix} autoComplete="off" value={draft.secret} error={of("secret")} onChange={(event) => set({ secret: event.currentTarget.value })} />}
            </>
          )}
          <Group grow align="start">
            <NumberInput label={words.timeout} min={1} max={3600} value={draft.timeout} error={of("timeout_seconds")} onChange={(value) => set({ timeout: Number(value) || 300 })} />
            <TextInput label={words.price} description={words.priceHint} inputMode="decimal" value={draft.price} error={of("price")} onChange={(event) => set({ price: event.currentTarget.value })} />
          </Group>
          <Textarea label={words.toolPrices} description={words.toolPricesHint} autosize minRows={1} maxRows={8} value={draft.tool_prices} error={of("tool_prices")} onChange={(event) => set({ tool_prices: event.currentTarget.value })} />
          <TextInput label={words.description} maxLength={1000} value={draft.description} error={of("description")} onChange={(event) => set({ description: event.currentTarget.value })} />
          <Switch label={words.enabled} checked={draft.is_enabled} onChange={(event) => set({ is_enabled: event.currentTarget.checked })} />
          {fault && !FIELDS.some((field) => fault.of(field)) && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.save}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
