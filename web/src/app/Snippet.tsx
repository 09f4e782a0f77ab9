import { Button, Code, CopyButton } from "@mantine/core";
import { text } from "./text";

/** Lines to paste into a terminal or a program. */
export function Snippet({ code }: { code: string }) {
  return (
    <div style={{ position: "relative" }}>
      <Code block tabIndex={0} pr={80} style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>{code}</Code>
      <CopyButton value={code}>
        {({ copied, copy }) => <Button size="compact-xs" variant="default" pos="absolute" top={8} right={8} onClick={copy}>{copied ? text.copied : text.copy}</Button>}
      </CopyButton>
    </div>
  );
}
