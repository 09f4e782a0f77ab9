import { Autocomplete, Button, CloseButton, Group, Pill, Popover, Select, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useScene } from "../../app/context";
import { Teach } from "../../app/parts";
import { filtersOf } from "../../app/range";
import { dimensionName, text } from "../../app/text";
import { plainOf, useDimensions, useNames } from "./names";
import { summaryOf } from "./queries";

/** What stands where a filtered view finds nothing, with the two ways on. */
export function Nothing() {
  const { view, go } = useScene();
  const bare = Object.fromEntries([...Object.keys(filtersOf(view)), "errors", "unpriced", "refused"].map((name) => [name, undefined]));
  return (
    <Teach title={text.none}>
      <Group gap="sm" mt={4}>
        <Button size="compact-sm" variant="default" onClick={() => go(bare)}>{text.withoutFilters}</Button>
        {view.range !== "90d" && <Button size="compact-sm" variant="default" onClick={() => go({ range: "90d", from: undefined, to: undefined })}>{text.last["90d"]}</Button>}
      </Group>
    </Teach>
  );
}

/** The filters of the view, each with a way to remove it, and a way to add one from the values that occur. */
export function FilterBar() {
  const { view, span, organization, go } = useScene();
  const [open, setOpen] = useState(false);
  const [dimension, setDimension] = useState("provider");
  const [value, setValue] = useState("");
  const dimensions = useDimensions(undefined);
  const nameOf = useNames();
  const found = useQuery({ ...summaryOf(organization, span, dimension), enabled: open });
  const values = [...(found.data?.groups ?? [])].sort((a, b) => b.requests - a.requests).map((group) => plainOf(group[dimension])).filter(Boolean);
  const labels = new Map(values.map((item) => [nameOf(dimension, item), item]));
  const add = (chosen: string) => {
    if (!chosen) return;
    go({ [dimension]: labels.get(chosen) ?? chosen });
    setOpen(false);
    setValue("");
  };
  const shown = [
    ...Object.entries(filtersOf(view)).map(([name, item]) => ({ name, label: `${dimensionName(name)}: ${nameOf(name, item)}` })),
    ...(view.errors ? [{ name: "errors", label: text.onlyErrors }] : []),
    ...(view.unpriced ? [{ name: "unpriced", label: text.onlyUnpriced }] : []),
    ...(view.refused ? [{ name: "refused", label: text.onlyRefused }] : []),
  ];
  return (
    <Group gap={6}>
      {shown.map(({ name, label }) => (
        <Pill key={name} size="sm" component="span" bg="var(--mantine-color-default-hover)">
          <Group gap={2} wrap="nowrap">{label}<CloseButton size="xs" aria-label={text.clear(label)} onClick={() => go({ [name]: undefined })} /></Group>
        </Pill>
      ))}
      <Popover opened={open} onChange={setOpen} trapFocus withinPortal position="bottom-start" shadow="md">
        <Popover.Target><Button size="compact-xs" variant="default" onClick={() => setOpen(!open)}>+ {text.addFilter}</Button></Popover.Target>
        <Popover.Dropdown aria-label={text.addFilter}>
          <form onSubmit={(event) => { event.preventDefault(); add(value); }}>
            <Stack gap={6}>
              <Select size="xs" label={text.filter} data={dimensions} value={dimension} allowDeselect={false} searchable comboboxProps={{ withinPortal: false }} onChange={(chosen) => { if (chosen) { setDimension(chosen); setValue(""); } }} />
              <Autocomplete size="xs" autoFocus data-autofocus label={text.value} data={[...labels.keys()]} value={value} onChange={setValue} onOptionSubmit={add} limit={30} comboboxProps={{ withinPortal: false }} />
              <Button size="compact-sm" type="submit" disabled={!value}>{text.apply}</Button>
            </Stack>
          </form>
        </Popover.Dropdown>
      </Popover>
    </Group>
  );
}
