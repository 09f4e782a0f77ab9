import { Anchor, Divider, Drawer, Group, Stack } from "@mantine/core";
import type { Call } from "../../api/types";
import { useScene } from "../../app/context";
import { Copyable } from "../../app/parts";
import { text } from "../../app/text";
import { CallCost } from "./CallCost";
import { CallFields } from "./CallFields";
import { CallHead, CallTrouble } from "./CallHead";
import { placeOf } from "./callPlace";

/** One call beside the list: its head, its cost and its fields. Its own page has the rest. */
export function CallPanel({ call, onClose }: { call: Call | null; onClose: () => void }) {
  const { go } = useScene();
  return (
    <Drawer opened={call !== null} onClose={onClose} position="right" title={text.details} size="lg" closeButtonProps={{ "aria-label": text.close }}>
      {call && (
        <Stack gap="sm">
          <CallHead call={call} />
          <Group justify="space-between" gap="xs">
            <Copyable value={call.id} />
            <Anchor size="sm" href={placeOf(call).path} onClick={(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); go(placeOf(call).view, placeOf(call).path); }}>{text.wholeCall}</Anchor>
          </Group>
          <CallTrouble call={call} />
          <Divider label={text.made} labelPosition="left" />
          <CallCost call={call} />
          <Divider label={text.fields} labelPosition="left" />
          <CallFields call={call} />
        </Stack>
      )}
    </Drawer>
  );
}
