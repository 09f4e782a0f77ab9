// The words about one held call.
export const holdText = {
  hold: "Hold", find: "Explain a hold", findLead: "its id, as /v1/admit answered", limit: "Limit", had: "Had", charged: "Charged", left: "Left then", settled: "Settled to", back: "Came back",
  lead: "Which limits the call met, what each had, what was charged when it began, and what came back when it ended. From the trail, which is up to a second behind.",
  states: { open: "open: the call goes on", settled: "settled to what it took", released: "given back: it was never made", expired: "expired: nobody ended it in time, so it stays charged as estimated" } as Record<string, string>,
  began: "Began", ended: "Ended", expires: "Expires", gone: "a limit that is in force no more", notYet: "not yet", unknown: "nobody knows any more", over: "The window was over by then: nothing comes back to it.",
};
