// The words of the pages about MCP servers, loaded with them.
export const mcpText = {
  lead: "Which tools are called, by whom, how long they take and why they fail. A tool error is an answer that says the tool failed; a protocol error is a call that got no answer of the tool.",
  tools: "Tools", servers: "Servers", clients: "Clients", requests: "Requests of the protocol", tool: "Tool", server: "Server", client: "Client", version: "Version", method: "Method", status: "Status",
  calls: "Calls", failures: "Failures", failureRate: "Failure rate", toolErrors: "Tool errors", protocolErrors: "Protocol errors", average: "Average", p95: "p95", slowest: "Slowest", answerSize: "Average answer",
  principals: "Principals", callers: "Callers", noServer: "(no server named)", noClient: "(no client named)", stdio: "no HTTP",
  both: (tool: number, protocol: number) => `${tool} tool, ${protocol} protocol`, of: (shown: number, all: number) => `${shown} of ${all}`,
  uncalled: "Listed, never called", uncalledLead: "Tools that a server named in its newest lists and that nobody called in this range.", uncalledOf: (tools: number, servers: number) => `${tools} ${tools === 1 ? "tool" : "tools"} of ${servers} ${servers === 1 ? "server" : "servers"}`,
  thisTool: "All calls of this tool", byClients: (shown: string, clients: number) => `${shown} ${clients === 1 ? "client" : "clients"}`,
  callsOverTime: "Calls over time", ok: "ok", durations: "p95 duration over time", distribution: "How long calls take", slowestCalls: "Slowest calls", failedCalls: "Failed calls", failing: "Parameters that fail",
  failingLead: "Of the newest failed calls, those with equal parameters together.", times: "Times", lastError: "Last error", lastFailed: "Last failed", noFailures: "No call failed in this range.",
  outcome: "Outcome", outcomes: { ok: "ok", tool_error: "tool error", protocol_error: "protocol error" } as Record<string, string>,
  emptyTitle: "No tool calls yet in this range", emptyLead: "Once an MCP server reports its calls, this page ranks its tools by calls, failures and duration. A server written in Python reports them with one line:",
  emptyPlain: "Anything else sends them to the same place:", parameters: "Parameters", response: "Response", noParameters: "No parameters were sent.", noResponse: "No response was sent.", stack: "Stack",
  sameParameters: "Calls with these parameters", trace: "Tool calls of this trace", noTrace: "This call names no trace.", oneOfTrace: "No other tool call of this trace is known here.",
  session: "Session", ofProtocol: "of the protocol", derived: "derived", derivedLead: "The protocol has no session here: these are calls of the same principal and client without a pause of more than half an hour.",
  window: (calls: string, from: string, to: string) => `${calls} calls from ${from} to ${to}`, principal: "Principal", duration: "Duration", size: "Size of the answer", nothing: "–", find: "Search parameters",
  findLead: "A JSON object that the parameters must hold", search: "Search", notJson: "Give a JSON object, such as {\"path\": \"/etc\"}.", toolCalls: "Tool calls", onlyFailed: "Only failures", nothingFound: "No call fits.",
};
