import { Divider, Skeleton, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import type { ActiveLimit, BucketStatus, TokenUsage } from "../../api/admission";
import { read } from "../../api/client";
import { useScene } from "../../app/context";
import { rfc } from "../../app/range";
import { allowedAnHour, HOURS, hoursOf, isShare } from "./hours";
import { hourText as words } from "./hourText";
import { unitsOf } from "./units";

const Chart = lazy(() => import("../metering/Chart"));
const EVERY_MS = 30_000;

/** What a bucket gave in each hour of the last day, against what its limit allows in one. Nothing for calls in flight: they come back. */
export function HourChart({ item }: { item: BucketStatus }) {
  const { organization, zone, go } = useScene();
  const isTold = item.method !== "concurrency";
  const limits = useQuery({ queryKey: ["active-limits", organization], enabled: isTold, staleTime: EVERY_MS, queryFn: ({ signal }) => read<ActiveLimit[]>("/api/admission/active-limits", {}, signal) });
  const usage = useQuery({
    queryKey: ["token-usage", organization, item.bucket], enabled: isTold, refetchInterval: EVERY_MS,
    queryFn: ({ signal }) => read<TokenUsage[]>("/api/admission/token-usage", { bucket: item.bucket, period: "hour", from: rfc(Date.now() - HOURS * 3_600_000) }, signal),
  });
  if (!isTold) return null;
  const limit = limits.data?.find((known) => known.id.replaceAll("-", "") === item.bucket.split(":")[0]);
  const allowed = limit ? allowedAnHour(limit) : null;
  const { times, taken } = hoursOf(usage.data ?? [], usage.dataUpdatedAt || 0);
  const lines = [
    { name: words.taken, color: "#1c7ed6", values: taken },
    ...(allowed === null ? [] : [{ name: limit && isShare(limit) ? words.share : words.allowed, color: "#e03131", isBefore: true, values: times.map(() => allowed) }]),
  ];
  return (
    <>
      <Divider label={words.title} labelPosition="left" />
      {usage.isError && !usage.data ? <Text size="xs" className="bad">{usage.error.message}</Text> : !usage.data || limits.isPending ? <Skeleton h={150} /> : (
        <div data-hours={taken.filter((units) => units > 0).length}>
          <Suspense fallback={<Skeleton h={150} />}>
            <Chart title={words.title} times={times} lines={lines} kind="line" zone={zone} step={3600} format={(value) => (value === null ? "–" : unitsOf(value, item.dimension, item.scale))} onZoom={(from, to) => go({ from: rfc(from), to: rfc(to), range: undefined })} />
          </Suspense>
          <Text size="xs" c="dimmed">{words.lead}</Text>
        </div>
      )}
    </>
  );
}
