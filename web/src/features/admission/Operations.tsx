import { Stack, Tabs } from "@mantine/core";
import { useScene } from "../../app/context";
import { Heading } from "../../app/parts";
import { text } from "../../app/text";
import { Applications } from "./Applications";
import { Clusters } from "./Clusters";
import { Costs } from "./Costs";
import { operationText as words } from "./operationText";

/** What operations are charged, and the applications and clusters that quotas name. */
export function Operations() {
  const { view, go, may } = useScene();
  return (
    <Stack gap="sm">
      <Heading title={text.operations} />
      <Tabs value={view.tab ?? "costs"} onChange={(tab) => go({ tab: tab === "costs" ? undefined : (tab ?? undefined) })} keepMounted={false}>
        <Tabs.List mb="sm"><Tabs.Tab value="costs">{words.costs}</Tabs.Tab>{may("application:read") && <Tabs.Tab value="applications">{words.applications}</Tabs.Tab>}{may("application:read") && <Tabs.Tab value="clusters">{words.clusters}</Tabs.Tab>}</Tabs.List>
        <Tabs.Panel value="costs"><Costs /></Tabs.Panel>
        <Tabs.Panel value="applications"><Applications /></Tabs.Panel>
        <Tabs.Panel value="clusters"><Clusters /></Tabs.Panel>
      </Tabs>
    </Stack>
  );
}
