import { Anchor, Paper, Stack, Tabs, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { AccessKey, Page } from "../../api/types";
import { useScene } from "../../app/context";
import { Snippet } from "../../app/Snippet";
import { text } from "../../app/text";

/** What the page shows once there is data, and how to send the first call from here. */
export function Empty() {
  const { go, may, organization } = useScene();
  const keys = useQuery({ queryKey: ["keys", organization, "newest"], enabled: may("key:read"), queryFn: () => read<Page<AccessKey>>("/api/identity/access-keys", { limit: "1" }) });
  const prefix = keys.data?.items[0]?.prefix;
  const url = window.location.origin;
  const curl = `curl ${url}/v1/events \\
  -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Content-Type: application/json" \\
  -d '[{"id": "call-'$(date +%s)'", "provider": "openai", "model": "gpt-4o", "status_code": 200,
        "response_time_ms": 812, "tokens": {"input": 1200, "output": 250}}]'`;
  const python = `import os, uuid, urllib.request, json
record = {"id": str(uuid.uuid4()), "provider": "openai", "model": "gpt-4o", "status_code": 200,
          "response_time_ms": 812, "tokens": {"input": 1200, "output": 250}}
request = urllib.request.Request("${url}/v1/events", json.dumps([record]).encode(),
    {"Authorization": "Bearer " + os.environ["NEXUS_ACCESS_KEY"], "Content-Type": "application/json"})
print(urllib.request.urlopen(request).read().decode())`;
  return (
    <Paper withBorder p="lg" radius="md">
      <Stack gap="sm">
        <Title order={2} size="h4">{text.emptyTitle}</Title>
        <Text c="dimmed" size="sm">{text.emptyLead}</Text>
        <Text size="sm">{prefix ? text.yourKey(prefix) : text.needKey} <Anchor size="sm" underline="always" href="/keys" onClick={(event) => { event.preventDefault(); go({}, "/keys"); }}>{text.keys}</Anchor>.</Text>
        <Tabs defaultValue="curl">
          <Tabs.List><Tabs.Tab value="curl">curl</Tabs.Tab><Tabs.Tab value="python">Python</Tabs.Tab></Tabs.List>
          <Tabs.Panel value="curl" pt="xs"><Snippet code={curl} /></Tabs.Panel>
          <Tabs.Panel value="python" pt="xs"><Snippet code={python} /></Tabs.Panel>
        </Tabs>
        <Text c="dimmed" size="sm">{text.allTime}</Text>
        <Snippet code="nexus replay access.log.gz --shift-to-now" />
      </Stack>
    </Paper>
  );
}
