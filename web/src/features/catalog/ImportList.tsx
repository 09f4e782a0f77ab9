import { Alert, Anchor, Button, Checkbox, FileInput, Group, Modal, Select, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { send } from "../../api/client";
import type { ImportSummary } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { count } from "../../app/format";
import { text } from "../../app/text";

const FILES: Record<string, string> = { "genai-prices": "prices/data.json", litellm: "model_prices_and_context_window.json", "models.dev": "api.json" };
const WHAT = ["providers_added", "models_added", "prices_added", "prices_changed", "prices_unchanged", "new_conflicts", "conflicts"] as const;

/** Takes a price list in: first what it would do, if one likes, then what it did. */
export function ImportList() {
  const { go } = useScene();
  const client = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const [source, setSource] = useState("litellm");
  const [file, setFile] = useState<File | null>(null);
  const [isDry, setDry] = useState(false);
  const [done, setDone] = useState<ImportSummary | null>(null);
  const attempt = useAttempt();
  const { fault } = attempt;
  const submit = async () => {
    setDone(null);
    setDone(await send<ImportSummary>("/api/catalog/imports", { source, dry_run: isDry, ...(file ? { content: await file.text() } : {}) }));
    if (!isDry) await Promise.all(["imports", "conflicts", "prices", "providers"].map((key) => client.invalidateQueries({ queryKey: [key] })));
  };
  const close = () => {
    setOpen(false);
    setDone(null);
    attempt.forget();
  };
  return (
    <>
      <Button size="xs" onClick={() => setOpen(true)}>{text.importPrices}</Button>
      <Modal opened={isOpen} onClose={close} title={text.importPrices} closeButtonProps={{ "aria-label": text.close }}>
        <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
          <Stack>
            <Text size="sm" c="dimmed">{text.importPricesLead}</Text>
            <Select label={text.source} allowDeselect={false} value={source} data={Object.keys(FILES)} comboboxProps={{ withinPortal: false }} onChange={(chosen) => { if (chosen) { setSource(chosen); setDone(null); } }} />
            <FileInput label={text.file} description={source === "genai-prices" ? text.fileOrBundled : FILES[source]} accept="application/json,.json" clearable required={source !== "genai-prices"} value={file} error={fault?.of("content")} onChange={(chosen) => { setFile(chosen); setDone(null); }} />
            <Checkbox label={text.dryRun} checked={isDry} onChange={(event) => { setDry(event.currentTarget.checked); setDone(null); }} />
            {fault && !fault.of("content") && <Text size="sm" className="bad" role="alert">{fault.message}</Text>}
            {done && (
              <Alert color={done.new_conflicts ? "orange" : "blue"} variant="light" title={done.is_dry_run ? text.wouldDo : text.didDo} role="status">
                <Text size="sm">{WHAT.filter((name) => done[name] > 0).map((name) => `${name.replace(/_/g, " ")} ${count(done[name])}`).join(", ") || text.nothingChanged}</Text>
                {done.skipped.length > 0 && <Text size="xs" mt={4}>{text.skipped(count(done.skipped.length))}: {done.skipped.slice(0, 3).join("; ")}</Text>}
                {!done.is_dry_run && done.conflicts > 0 && <Anchor size="sm" c="inherit" underline="always" href="/prices?tab=conflicts" onClick={(event) => { event.preventDefault(); close(); go({ tab: "conflicts" }); }}>{text.conflicts}</Anchor>}
              </Alert>
            )}
            <Group justify="flex-end"><Button variant="default" onClick={close}>{text.close}</Button><Button type="submit" loading={attempt.busy} disabled={!file && source !== "genai-prices"}>{isDry ? text.tryDry : text.importNow}</Button></Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}
