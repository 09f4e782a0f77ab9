import { Group, Progress, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { LearnedLimits as Learned, ProviderCredential } from "../../api/types";
import { useScene } from "../../app/context";
import { clock, count, moment } from "../../app/format";
import { gatewayText as words } from "../../app/gatewayText";

const EVERY_MS = 5000;

/** What the provider last told a credential of its limits: how much of each is used, and when it is reset. */
export function LearnedLimits({ credential }: { credential: ProviderCredential }) {
  const { organization, zone } = useScene();
  const query = useQuery({
    queryKey: ["learned", organization, credential.id],
    refetchInterval: EVERY_MS,
    queryFn: ({ signal }) => read<Learned>(`/api/identity/provider-credentials/${credential.id}/limits`, {}, signal),
  });
  const told = query.data;
  // The server's own words, where the line would be: the credential is there all the same.
  if (query.isError) return <Text size="xs" className="bad">{query.error.message}</Text>;
  if (!told) return <Text size="xs" c="dimmed">…</Text>;
  if (!told.at) return <Text size="xs" c="dimmed">{words.noLimits}</Text>;
  const at = Date.parse(told.at);
  return (
    <Stack gap={6} role="group" aria-label={words.limitsOf(credential.name)}>
      {told.limits.map((item) => {
        const resetsAt = item.resets_in_seconds == null ? null : at + item.resets_in_seconds * 1000;
        const isKnown = item.limit != null && item.remaining != null && item.limit > 0;
        const used = isKnown ? Math.min(1, Math.max(0, 1 - (item.remaining as number) / (item.limit as number))) : null;
        const left = item.remaining == null ? words.limitOf(count(item.limit)) : words.leftOf(count(item.remaining), count(item.limit));
        // A reset that went by unseen: nobody knows how much is used since.
        const isOver = resetsAt !== null && resetsAt <= query.dataUpdatedAt;
        return (
          <div key={item.kind}>
            <Group justify="space-between" gap={6}>
              <Text size="xs" fw={500}>{item.kind.replace(/[_-]/g, " ")}</Text>
              <Text size="xs" c="dimmed">{left}{resetsAt !== null && `, ${isOver ? words.resetSince(clock(resetsAt, zone)) : words.resetsAt(clock(resetsAt, zone))}`}</Text>
            </Group>
            {used !== null && <Progress value={used * 100} size="sm" color={isOver ? "gray" : used >= 0.9 ? "red" : "blue"} aria-label={`${words.limitsOf(credential.name)}: ${item.kind}`} />}
          </div>
        );
      })}
      {told.retry_after_seconds !== null && <Text size="xs" className="bad">{words.retryAfter(clock(at + told.retry_after_seconds * 1000, zone))}</Text>}
      <Text size="xs" c="dimmed">{words.toldAt(moment(told.at, zone))}</Text>
    </Stack>
  );
}
