// The words about what an access key may use through the gateway.
export const keyText = {
  may: "What it may call",
  mayLead: "What this key, and the keys it is rotated to, may use through the gateway. An empty field limits nothing; in models, endpoints and tools * stands for anything. In force within a second.",
  providers: "Providers", providersHint: "Slugs, such as openai",
  models: "Models", modelsHint: "Such as gpt-4o or claude-*",
  endpoints: "Endpoints", endpointsHint: "Paths below the provider's address, such as /chat/completions or /models/*",
  mcpServers: "MCP servers", mcpServersHint: "Names, such as files",
  mcpTools: "MCP tools", mcpToolsHint: "Server and tool, such as files/read or github/*",
  empty: (what: string) => `Empty ${what}`,
};
