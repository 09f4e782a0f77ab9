// Every word of the pages, in one catalogue; other languages are further entries of the same shape.
const english = {
  signIn: "Sign in", email: "E-mail", password: "Password", signOut: "Sign out", signInLead: "to see what your APIs do and cost",
  overview: "Overview", calls: "Calls", api: "API reference", search: "Go to…", nothingFound: "Nothing fits.",
  requests: "Requests", errorRate: "Error rate", p95: "p95 latency", cost: "Cost", providers: "By provider", provider: "Provider",
  errors: "Errors", tokens: "Tokens in / out", other: "other", asOf: "as of", live: "live", paused: "connection lost, retrying",
  versus: "against the period before", noChange: "no change", unpriced: (n: string) => `${n} calls without a price`,
  noLatency: "no call here has a response time", noCost: "no call here has a price", none: "no calls in this range",
  tryAgain: "Try again", requestId: "request", zone: "Zone", range: "Range", refresh: "Refresh", custom: "Chosen range",
  last: { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days" } as Record<string, string>,
  emptyTitle: "No calls yet in this range", emptyLead: "Once calls come in, this page shows how many there are, how they go and what they cost. Send one now:",
  allTime: "Or replay a file you have, with its times moved to now:", more: "Older calls", exportCsv: "CSV", exportParquet: "Parquet",
  time: "Time", call: "Call", model: "Model", status: "Status", latency: "Latency", details: "Call", onlyErrors: "Only errors", copy: "Copy", copied: "Copied",
  theme: "Light or dark", organization: "Organization", skip: "Skip to the content", close: "Close", bound: (p: string) => `Percentiles are within ${p} of the exact value.`,
};
export const text = english;
