// The words about what a provider's account may be asked.
export const rateText = {
  title: "Its rates", lead: "What the account may be asked a minute. Calls beyond are refused here, before the provider refuses them: a limit like any other, in force within a second, and kept as a quota with its history.",
  none: "No rate is set: calls go out as fast as they come, and the provider says when it is too much.", requests: "Requests a minute", tokens: "Model tokens a minute", whose: "Of", all: "all models together", set: "Set rates", change: "Change",
  model: "Model", modelLead: "As calls name it; empty: all models of the provider together.", reason: "Reason", reasonLead: "Kept with the version.", usual: "the account's rate", save: "Put in force", nothing: "Empty: no such limit.",
  published: (requests: string, tokens: string) => `Published: ${[requests && `${requests} requests`, tokens && `${tokens} model tokens`].filter(Boolean).join(", ")} a minute.`, history: "History", unlimited: "no limit", whole: "Give a whole number above 0, or nothing.",
};
