// The words about what limits did to a call.
export const callLimitText = {
  title: "Limits", lead: "Which limits this call met, what each had, what was charged before the call, and what it came to once the call had ended.", limit: "Limit", had: "Had", charged: "Charged", settled: "Settled to", back: "Came back", left: "Left then",
  scope: { cluster: "Cluster", organization: "Organization", application: "Application", user: "User", key: "Access key", provider: "Provider", model: "Model", endpoint: "Endpoint", tag: "Tag" } as Record<string, string>,
  unit: { requests: "requests", operations: "operations", bytes: "bytes", tokens: "model tokens", concurrency: "calls in flight", money: "money" } as Record<string, string>,
  watching: "only watching: it would have refused", notKnown: "could not be asked",
  by: { redis: "Decided in Redis, for all processes at once.", lease: "Decided by what this process had on lease: charged to Redis before, in advance. Had and left are what the process knew.", fallback: "Decided without Redis, by the limits' failure policies: what they had was not known." },
  refusedLead: "Which limits this call met, what each had, and what it asked of them. One refused, so none was charged and nothing was sent.", asked: "Asked", said: "Said", refuses: "refused", allows: "had enough", short: "had too little",
  unavailable: "Its failure policy refuses while Redis is away.", impossible: "The call is larger than this limit will ever allow: waiting does not help.", retry: (after: string) => `It could be made ${after} later at the soonest.`,
  unrecorded: (count: string) => `${count} calls before it were refused too and have no record: of many refusals only some are kept, and all are counted.`, allRefusals: "All refusals, counted",
};
