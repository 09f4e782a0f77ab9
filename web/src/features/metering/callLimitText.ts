// The words about what limits did to a call.
export const callLimitText = {
  title: "Limits", lead: "Which limits this call met, what each had, what was charged before the call, and what it came to once the call had ended.", limit: "Limit", had: "Had", charged: "Charged", settled: "Settled to", back: "Came back", left: "Left then",
  scope: { cluster: "Cluster", organization: "Organization", application: "Application", user: "User", key: "Access key", provider: "Provider", model: "Model", endpoint: "Endpoint", tag: "Tag" } as Record<string, string>,
  unit: { requests: "requests", operations: "operations", bytes: "bytes", tokens: "model tokens", concurrency: "calls in flight", money: "money" } as Record<string, string>,
  watching: "only watching: it would have refused", withoutRedis: "Decided without Redis, by the limits' failure policies: what they had was not known.", notKnown: "could not be asked",
};
