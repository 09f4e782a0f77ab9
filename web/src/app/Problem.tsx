import { Alert, Button, Group, Text } from "@mantine/core";
import { ApiError } from "../api/client";
import { text } from "./text";

/** An error where the content would be, in the server's words, with a way on. */
export function Problem({ error, retry }: { error: unknown; retry: () => void }) {
  const problem = error instanceof ApiError ? error.problem : undefined;
  return (
    <Alert color="red" variant="light" title={problem?.title ?? "Something went wrong"} role="alert">
      <Text size="sm">{problem?.detail ?? String(error)}</Text>
      <Group mt="sm" gap="sm">
        <Button size="compact-sm" color="red" variant="filled" onClick={retry}>{text.tryAgain}</Button>
        {problem?.request_id && <Text size="xs" c="dimmed">{text.requestId} {problem.request_id}</Text>}
      </Group>
    </Alert>
  );
}
