// The words of the limits' page, loaded with it.
export const limitText = {
  lead: "How full every bucket is now. A call meets all limits that apply to it; the emptiest decides.",
  emptyTitle: "Nothing is limited yet", emptyLead: "Once a quota is in force and calls are made, this page shows how much of each limit is left, who is refused and why.", makeQuota: "Make a quota",
  idleTitle: "Every bucket is full", idleLead: "Limits are in force, and nothing was taken from them lately: a bucket shows here with the first call that is charged to it.",
  left: "Left", of: (left: string, capacity: string) => `${left} of ${capacity}`, overdrawn: (amount: string) => `${amount} overdrawn`, held: "Held", heldLead: "reserved by calls that have not ended", none: "–", refusedHere: "Refused", state: { healthy: "healthy", warning: "under half", critical: "under a fifth" } as Record<string, string>,
  fill: (limit: string, share: string) => `${limit}: ${share} left`, only: "Show", all: "All", wanting: "In want", refusing: "Refusing",
  refusals: "Who is refused, and why", refusalsLead: "Calls in the chosen range, by limit and by who asked; counts are told within a second or two.", noRefusals: "Nobody was refused in this range.", limit: "Limit", who: "Who asked", why: "Why", calls: "Calls", again: "Try again", last: "Last",
  kinds: { refused: "used up", impossible: "larger than the limit allows", unavailable: "Redis was away, and the limit is closed then", shadow: "would have been refused (only watching)" } as Record<string, string>,
  noKey: "no access key", others: "others together", never: "waiting does not help", afterwards: (time: string) => `after ${time}`, notRefused: "was admitted",
  share: (now: string) => `your share: ${now}/s`, shareLead: (guaranteed: string) => `A share of capacity that other organizations use too. It follows what is asked for, and is never less than ${guaranteed} a second.`,
  bucket: "Bucket", method: "Refills", transactions: "Last transactions", transactionsLead: "What each did to this bucket, newest first.", noTransactions: "None stored yet: they come a second or two after the calls.", at: "At", kind: "What", changed: "Change", level: "Afterwards", reference: "Of",
  levelLead: "For windows and calls in flight: how much is taken.", takenAfter: "Taken afterwards",
  transaction: { charge: "charged", settle: "settled", release: "given back", reap: "hold expired", adjust: "adjusted by hand", lease: "leased to a process", return: "lease returned", borrow: "borrowed", repay: "repaid" } as Record<string, string>,
  units: { requests: "requests", operations: "operations", bytes: "bytes", tokens: "model tokens", concurrency: "calls", money: "" } as Record<string, string>, more: (number: string) => `and ${number} more, fuller than these`,
};
