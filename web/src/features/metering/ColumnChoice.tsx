import { Button, Checkbox, Popover, Stack } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { amend } from "../../api/client";
import { useScene } from "../../app/context";
import { text } from "../../app/text";
import { type CallColumn, COLUMNS, columnsOf, NARROW, USUAL } from "./callColumns";

const PREFERENCE = "calls.columns";

/** The columns that are shown: the address says, else what one chose last, else what fits. */
export function useColumns(): CallColumn[] {
  const { view, account } = useScene();
  const isNarrow = useMediaQuery("(max-width: 48em)", undefined, { getInitialValueInEffect: false });
  const display = account.user?.preferences.display as Record<string, unknown> | undefined;
  const kept = display?.[PREFERENCE];
  return columnsOf(view.columns ?? (typeof kept === "string" ? kept : undefined), isNarrow ? NARROW : USUAL);
}

/** Choose which columns there are; the address shows them to others, and one's own choice is kept. */
export function ColumnChoice() {
  const { go, account } = useScene();
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const shown = useColumns().map((column) => column.id);
  const choose = async (ids: string[]) => {
    const names = COLUMNS.map((column) => column.id).filter((id) => ids.includes(id)).join(",");
    go({ columns: names });
    if (!account.user) return;
    const display = (account.user.preferences.display as Record<string, unknown> | undefined) ?? {};
    await amend("/api/identity/me", { preferences: { display: { ...display, [PREFERENCE]: names } } });
    await client.invalidateQueries({ queryKey: ["account"] });
  };
  return (
    <Popover opened={open} onChange={setOpen} trapFocus withinPortal position="bottom-end" shadow="md">
      <Popover.Target><Button size="compact-xs" variant="default" onClick={() => setOpen(!open)}>{text.columns}</Button></Popover.Target>
      <Popover.Dropdown aria-label={text.columns}>
        <Stack gap={10}>
          {COLUMNS.map((column) => (
            <Checkbox key={column.id} size="xs" label={column.name} checked={shown.includes(column.id)} disabled={shown.length === 1 && shown[0] === column.id}
              onChange={(event) => void choose(event.currentTarget.checked ? [...shown, column.id] : shown.filter((id) => id !== column.id))} />
          ))}
          <Button size="compact-xs" variant="default" onClick={() => void choose(USUAL)}>{text.usual}</Button>
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
