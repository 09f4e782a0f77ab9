// The catalogue's words about bodies of calls.
export const bodyText = {
  settings: "Bodies of calls", settingsLead: "What is asked and answered through the gateway is not kept unless you turn it on. What is kept is masked before it is stored, sealed, and readable only by people who may read bodies; each reading is in the audit log.",
  isOn: "Keep bodies of calls", onSince: (at: string) => `On since ${at}.`, isOff: "Off: nothing is kept.",
  share: "Share of calls", shareLead: "per cent of them, decided by the call's id", size: "At most of each body", sizeLead: "unpacked; the rest is not kept", days: "Keep for", daysLead: "days, 90 at most", onlyFailed: "Only calls that failed", providers: "Only these providers", providersLead: "none named: all",
  masks: "What is masked", secrets: "Always: secrets, such as keys, tokens and passwords.", mask: { email: "E-mail addresses", phone: "Phone numbers", card: "Card numbers", iban: "IBANs", ip: "IP addresses" },
  fields: "Fields whose values are masked", fieldsLead: "names of JSON or form fields, such as date_of_birth", words: "Words that are masked", wordsLead: "wherever they stand: names of customers, projects",
  purge: "Delete all bodies", purgeLead: "Everything that is kept so far is hidden at once and deleted within a minute. The calls and their figures stay. This cannot be undone.", purged: (at: string) => `Everything from before ${at} was deleted.`, purgedNow: "Deleted: nothing kept so far can be read any more.",
  bodies: "Bodies", show: "Show the bodies", showLead: "Reading them is written to the audit log.", mayNot: "To read bodies one needs the permission bodies:read.", request: "Request", response: "Answer", until: (at: string) => `Deleted after ${at}.`,
  cut: "only the beginning is kept", masked: (what: string) => `masked: ${what}`, kind: { secret: "secrets", field: "fields", word: "words", email: "e-mail addresses", phone: "phone numbers", card: "card numbers", iban: "IBANs", ip: "IP addresses", logprobs: "probabilities" } as Record<string, string>,
  state: {
    empty: "There was none.", binary: "No text: only its size and kind are kept.", unreadable: "Its encoding cannot be unpacked here: only its size and kind are kept.",
    sealed: "It was sealed under a key that NEXUS_SECRET_KEY does not list any more, so nobody can open it.", absent: "None was received.",
  } as Record<string, string>,
  why: {
    off: "Not kept: bodies are turned off for this organization.", off_then: "Not kept: bodies were turned off when this call was made.", over_its_time: "Not kept any more: the time for which bodies are kept is over.", purged: "Not kept any more: somebody had all bodies deleted.",
    other_provider: "Not kept: bodies of this provider's calls are not among those that are.", not_failed: "Not kept: only bodies of calls that failed are.", not_sampled: "Not kept: this call is not in the sample.",
    session: "Not kept: this was a WebSocket session, of which no bodies are kept.", not_through_gateway: "Not kept: this call did not go through the gateway.", on_its_way: "Not there yet: bodies are stored a moment after their call.",
    not_kept: "Not kept: there was no room for it, or the settings were others then.",
  } as Record<string, string>,
};
