import { Anchor, Badge, Button, Group, Progress, SegmentedControl, Stack, Text, UnstyledButton } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import type { BucketStatus, Refusal } from "../../api/admission";
import { read } from "../../api/client";
import { useScene } from "../../app/context";
import { count, percent } from "../../app/format";
import { Heading, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { rfc } from "../../app/range";
import { text } from "../../app/text";
import { BucketPanel } from "./BucketPanel";
import { COLORS } from "./colors";
import { HoldPanel, HoldSearch } from "./HoldPanel";
import { limitText as words } from "./limitText";
import { quotasOf, useSubjects } from "./names";
import { quotaText } from "./quotaText";
import { Refusals } from "./Refusals";
import { refusedBy, treeOf } from "./tree";
import { unitsOf } from "./units";

const EVERY_MS = 1500;
const MOST = 200;

/** How full every limit is, now and as it changes, by scope; and who is refused by which, and why. */
export function Limits() {
  const { organization, view, span, go, may } = useScene();
  const buckets = useQuery({ queryKey: ["buckets", organization], refetchInterval: EVERY_MS, queryFn: ({ signal }) => read<BucketStatus[]>("/api/admission/buckets", { limit: String(MOST) }, signal) });
  const range = { from: rfc(span.from), to: rfc(span.to) };
  const refusals = useQuery({ queryKey: ["refusals", organization, range], refetchInterval: span.isLive && EVERY_MS, placeholderData: keepPreviousData, queryFn: ({ signal }) => read<Refusal[]>("/api/admission/refusals", { ...range, limit: String(MOST) }, signal) });
  const quotas = useQuery(quotasOf(organization));
  const { nameOf } = useSubjects();
  const refused = refusedBy(refusals.data ?? []);
  const all = buckets.data ?? [];
  const wanted = view.tab === "wanting" ? all.filter((item) => item.status !== "healthy") : view.tab === "refusing" ? all.filter((item) => refused.has(item.bucket)) : all;
  const tree = treeOf(wanted, refused, nameOf);
  const chosen = all.find((item) => item.bucket === view.q) ?? null;
  const isEmpty = buckets.data && !all.length && quotas.data && !quotas.data.items.some((item) => item.current?.limits.length);
  const toQuotas = <Button size="xs" mt="sm" onClick={() => go({}, "/quotas")}>{words.makeQuota}</Button>;
  return (
    <Stack gap="sm">
      <Heading title={text.limits}>
        <HoldSearch />
        {all.length > 0 && <SegmentedControl size="xs" aria-label={words.only} value={view.tab ?? "all"} onChange={(tab) => go({ tab: tab === "all" ? undefined : tab })} data={[{ value: "all", label: words.all }, { value: "wanting", label: words.wanting }, { value: "refusing", label: words.refusing }]} />}
      </Heading>
      {buckets.isError && !buckets.data ? <Problem error={buckets.error} retry={() => void buckets.refetch()} /> : isEmpty ? (
        <Teach title={words.emptyTitle}>{words.emptyLead}{may("quota:create") && <div>{toQuotas}</div>}</Teach>
      ) : buckets.data && !all.length ? <Teach title={words.idleTitle}>{words.idleLead}</Teach> : (
        <>
          <Text size="sm" c="dimmed">{words.lead}</Text>
          <Panel>
            <div role="group" aria-label={text.limits} aria-busy={buckets.isPending}>
              {buckets.data && !tree.length && <Text size="sm" c="dimmed">{text.nothingFound}</Text>}
              {tree.map(([scope, branches]) => (
                <div key={scope} role="group" aria-label={quotaText.scopes[scope]} data-scope={scope}>
                  <Text size="xs" fw={700} c="dimmed" mt="xs" tt="uppercase">{quotaText.scopes[scope]}</Text>
                  <div>
                    {branches.map((branch) => (
                      <div key={branch.subject} role="group" aria-label={nameOf(scope, branch.subject) || quotaText.scopes[scope]} className="branch">
                        {scope !== "organization" && <Text size="sm" fw={600} style={{ overflowWrap: "anywhere" }}>{nameOf(scope, branch.subject)}</Text>}
                        <div>{branch.buckets.map((item) => <Bucket key={item.bucket} item={item} refused={refused.get(item.bucket) ?? 0} isOpen={item.bucket === view.q} open={() => go({ q: item.bucket })} />)}</div>
                      </div>
                    ))}
                  </div>
                </div>
              ))}
            </div>
          </Panel>
        </>
      )}
      {!isEmpty && <Refusals query={refusals} nameOf={nameOf} />}
      {quotas.data && all.length > 0 && <Text size="xs" c="dimmed">{quotaText.lead} <Anchor size="xs" underline="always" href="/quotas" onClick={(event) => { event.preventDefault(); go({}, "/quotas"); }}>{text.quotas}</Anchor></Text>}
      <HoldPanel id={view.hold} nameOf={nameOf} onClose={() => go({ hold: undefined })} />
      <BucketPanel item={chosen} refusals={(refusals.data ?? []).filter((item) => item.bucket === view.q)} nameOf={nameOf} onClose={() => go({ q: undefined })} />
    </Stack>
  );
}

/** One bucket on a line: its limit, how full it is, what is left of how much, what is held, how many were refused. */
function Bucket({ item, refused, isOpen, open }: { item: BucketStatus; refused: number; isOpen: boolean; open: () => void }) {
  const left = item.available < 0 ? words.overdrawn(unitsOf(-item.available, item.dimension, item.scale)) : words.of(unitsOf(item.available, item.dimension, item.scale, false), unitsOf(item.capacity, item.dimension, item.scale));
  return (
    <UnstyledButton aria-haspopup="dialog" aria-expanded={isOpen} className="bucket" data-bucket={item.bucket} data-status={item.status} onClick={open}>
      <Text size="sm" className="cut">{item.limit}</Text>
      <Progress value={item.fill * 100} size="md" color={COLORS[item.status]} aria-label={words.fill(item.limit, percent(item.fill))} transitionDuration={400} />
      <Text size="sm" className="figure right">{left}</Text>
      <Text size="xs" c="dimmed" className="figure right">{item.held ? `${words.held.toLowerCase()} ${unitsOf(item.held, item.dimension, item.scale, false)}` : ""}</Text>
      <Group gap={4} justify="flex-end">
        {item.share && <Badge size="sm" variant="outline" color="gray" tt="none">{words.share(unitsOf(item.share.per_second, item.dimension, item.scale, false))}</Badge>}
        {item.shadow_refusals > 0 && <Badge size="sm" variant="outline" color="gray" tt="none">{`${quotaText.shadow} ${count(item.shadow_refusals)}`}</Badge>}
        {refused > 0 && <Badge size="sm" variant="light" color="red" tt="none" autoContrast>{`${count(refused)} ${words.refusedHere.toLowerCase()}`}</Badge>}
      </Group>
    </UnstyledButton>
  );
}
