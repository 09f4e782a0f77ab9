import { Button, Group, Popover, Select, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { useScene } from "./context";
import { instant } from "./format";
import { browserZone, instantOf, RANGES, rfc, wallOf } from "./range";
import { text } from "./text";

const ZONES = [...new Set([browserZone, "UTC", ...Intl.supportedValuesOf("timeZone")])];

/** The range of the view: one of the usual ones up to now, or two instants on the wall clock of a zone. */
export function TimeRange() {
  const { view, span, zone, go } = useScene();
  const [open, setOpen] = useState(false);
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const shown = view.from ? `${instant(span.from, zone).slice(0, -3)} – ${instant(span.to, zone).slice(0, -3)}` : (text.last[view.range ?? "24h"] ?? "");
  const toggle = () => {
    setFrom(wallOf(span.from, zone));
    setTo(wallOf(span.to, zone));
    setOpen(!open);
  };
  const [start, end] = [instantOf(from || "x", zone), instantOf(to || "x", zone)];
  const fault = Number.isNaN(start) || Number.isNaN(end) ? text.bothInstants : start >= end ? text.forwards : null;
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" trapFocus withinPortal shadow="md">
      <Popover.Target>
        <Button variant="default" size="xs" onClick={toggle} aria-label={`${text.range}: ${shown}, ${zone}`} maw={300}>{shown}</Button>
      </Popover.Target>
      <Popover.Dropdown maw={360} aria-label={text.range}>
        <Stack gap="sm">
          <SimpleGrid cols={2} spacing={6}>
            {Object.keys(RANGES).map((range) => (
              <Button key={range} size="compact-sm" variant={!view.from && (view.range ?? "24h") === range ? "filled" : "default"}
                onClick={() => { setOpen(false); go({ range, from: undefined, to: undefined }); }}>{text.last[range]}</Button>
            ))}
          </SimpleGrid>
          <form onSubmit={(event) => { event.preventDefault(); if (!fault) { setOpen(false); go({ range: undefined, from: rfc(start), to: rfc(end) }); } }}>
            <Stack gap={6}>
              <Group grow gap={6}>
                <TextInput size="xs" type="datetime-local" label={text.from} value={from} onChange={(event) => setFrom(event.currentTarget.value)} />
                <TextInput size="xs" type="datetime-local" label={text.to} value={to} onChange={(event) => setTo(event.currentTarget.value)} />
              </Group>
              {fault && <Text size="xs" className="bad">{fault}</Text>}
              <Button size="compact-sm" type="submit" disabled={fault !== null}>{text.apply}</Button>
            </Stack>
          </form>
          <Select size="xs" label={text.zone} searchable allowDeselect={false} value={zone} data={ZONES} limit={60} comboboxProps={{ withinPortal: false }}
            onChange={(chosen) => chosen && go({ zone: chosen === browserZone ? undefined : chosen })} />
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
