// The words of the pages about the gateway, loaded with them.
export const gatewayText = {
  routesLead: "An alias stands for models of one or several providers. Calls to /gw/v1 that name it go to the lowest priority first, among equals in proportion to the weights, and on to the next when one fails.",
  alias: "Alias", order: "Order", first: "first", fallback: (place: number) => `fallback ${place}`, weight: "Weight", share: "Share", priority: "Priority", priorityLead: "The lowest is tried first.", weightLead: "Among equal priorities; 0 turns it off.",
  off: "off", noCredential: "no credential: it is passed over", addRoute: "Add a route", edit: "Edit", remove: "Remove",
  aliasLead: "What programs name as the model: letters, digits and . _ : / - without spaces.", providerLead: "Its slug, such as openai.", modelLead: "As the provider calls it.",
  removeLead: (alias: string, where: string, isLast: boolean) => `${alias} no longer leads to ${where}, within a second.${isLast ? ` It leads nowhere else: calls that name ${alias} are refused.` : ""}`,
  emptyTitle: "No routes yet", emptyLead: "With a route, programs name an alias instead of a provider's model: change where it leads here, without touching a program, and name fallbacks that take over when a provider fails or limits you. Without a route, name provider/model.",
  tryIt: "Try it", tryLead: "Sends one small request through the gateway, as a program would. It is forwarded, priced and recorded like any other.", model: "Alias, or provider/model", key: "Access key", keyLead: "With the scope gateway:call. It is used for this request and kept nowhere.",
  message: "Message", hello: "Say hello in one short sentence.", send: "Send", sending: "Waiting for the answer…", answer: "Answer", noText: "The answer has no text.", raw: "The answer as it came",
  headers: "First byte after", total: "Whole answer after", attempts: "Attempts", waiting: "Waiting until the attempts are stored…", noAttempts: "No attempt is recorded here: the request was refused before it was sent, or the key belongs to another organization.",
  notReached: "The gateway did not answer. Is Nexus running?", whole: "Attempts, timing and cost", snippets: "From a program", snippetsLead: "Put an access key with the scope gateway:call into NEXUS_ACCESS_KEY first.",
  request: "Request", mayNotSee: "To see the attempts one needs the permission metrics:read.",
};
