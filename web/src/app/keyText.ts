// The words about what an access key may use through the gateway.
export const keyText = {
  may: "What it may call",
  mayLead: "What this key, and the keys it is rotated to, may use through the gateway. An empty field limits nothing; in models and endpoints * stands for anything. In force within a second.",
  providers: "Providers", providersHint: "Slugs, such as openai",
  models: "Models", modelsHint: "Such as gpt-4o or claude-*",
  endpoints: "Endpoints", endpointsHint: "Paths below the provider's address, such as /chat/completions or /models/*",
  empty: (what: string) => `Empty ${what}`,
};
