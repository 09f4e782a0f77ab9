// The words of the metrics explorer, loaded with it.
export const words = {
  title: "Metrics", lead: "What your programs measure of themselves, by period and by label. Figures of calls are on the overview.",
  search: "Search", searchLead: "part of a name", metric: "Metric", kind: "Kind", unit: "Unit", series: "Series", lastSeen: "Newest point",
  kinds: { counter: "counter", gauge: "gauge", histogram: "histogram", summary: "summary" } as Record<string, string>,
  emptyTitle: "No metrics yet", emptyLead: "Once a program sends points, its metrics stand here, and each can be looked at by period and label. Send one now:",
  otherWays: "OpenTelemetry exporters deliver to /otlp/v1/metrics, and Prometheus reads the newest values at /api/metrics/prometheus.",
  noneFit: "No metric has this in its name.", all: "All metrics", noUnit: "none",
  groupBy: "Group by", noGroups: "nothing", period: "Period", byItself: (period: string) => `as fits (${period})`, figure: "Show",
  periods: { "1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour", "1d": "1 day", "1w": "1 week" } as Record<string, string>,
  figures: {
    percentiles: "Percentiles", increase: "Increase", rate: "Rate a second", avg: "Average", min: "Smallest", max: "Largest", last: "Newest", sum: "Sum", count: "Values", p50: "p50", p90: "p90", p95: "p95", p99: "p99", quantiles: "Quantiles",
  } as Record<string, string>,
  any: (label: string) => `every ${label}`, without: "Without filters", more: (n: number) => (n === 1 ? "1 more label" : `${n} more labels`), fewer: "Fewer labels",
  groups: "Groups", group: "Group", whole: "all series", nothingHere: "No point in this range.", noneWith: "No series has these labels.",
  facts: (unit: string, n: number) => `${unit ? `in ${unit}` : "no unit"}, ${n} series`, leftOff: (n: number) => `The largest groups are shown; ${n === 1 ? "a smaller one is" : `${n} smaller ones are`} not.`,
  unknown: "not told", none: "(none)", between: (low: string, high: string) => `between ${low} and ${high}`, above: (low: string) => `above ${low}`, below: (high: string) => `below ${high}`,
  within: "A percentile of single values lies within its bucket, for certain: point at a figure to see where the bucket ends.",
  active: (n: string, most: string) => `${n} active series${most ? ` of at most ${most}` : ""}.`,
  refused: (n: number, shown: string, metric: string, at: string) => `${n === 1 ? "1 point was refused as it" : `${shown} points were refused as they`} would have begun another, the newest of ${metric} (${at}): leave out labels whose values are always new.`,
  prometheus: "For Prometheus", utc: "Periods are of UTC.",
};
