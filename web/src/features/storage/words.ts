// The words of the page about storage, loaded with it.
export const words = {
  title: "Storage",
  lead: "Operations, bytes and latency of each application, beside the limits it is admitted by. Rates are means over the range; a peak is the highest rate of a single reported window.",
  operations: "Operations", bytes: "Bytes", iops: "IOPS", peakIops: "Peak IOPS", throughput: "Throughput", peakThroughput: "Peak throughput", latency: "Latency", errors: "Errors",
  split: (read: string, write: string) => `${read} read, ${write} written`, p99: (value: string) => `highest p99 ${value}`, peak: (rate: string) => `peak ${rate}`,
  iopsOverTime: "IOPS over time", throughputOverTime: "Throughput over time", latencyOverTime: "Mean latency over time",
  applications: "Applications", application: "Application", kinds: "Kinds of operations", kind: "Operation", clusters: "Clusters", cluster: "Cluster", iopsLimit: "IOPS limit", throughputLimit: "Throughput limit",
  noApplication: "(no application named)", noKind: "(no operation named)", noCluster: "(no cluster named)",
  units: (rate: string) => `${rate} units/s`, admitted: (rate: string, share: string) => `${share} admitted: ${rate}`, noLimit: "none", limitLine: "limit",
  limitsNote: "A limit on operations counts units, by the weights of the cost rules; operations here are counted as they were reported.",
  limitsOff: "Limits are shown to those who may see quotas.",
  trailShort: "What was admitted is summed over 31 days at most: choose a shorter range.",
  of: (shown: number, all: number) => `${shown} of ${all}`,
  emptyTitle: "No storage operations yet in this range",
  emptyLead: "This page shows IOPS, bandwidth and latency by application, with their peaks and limits. Send what your exporter counts in each window:",
};
