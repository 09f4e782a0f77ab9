// The words of the pages about errors, loaded with them.
import type { IssueEvent, Status } from "./types";

const said = (detail: IssueEvent["detail"], name: string) => (typeof detail[name] === "string" ? detail[name] : "");
export const words = {
  title: "Errors", lead: "One line per cause, however often it came. What is resolved and comes back shows as regressed.",
  which: "Which issues", views: { unresolved: "Unresolved", regressed: "Regressed", resolved: "Resolved", ignored: "Ignored", all: "All" } as Record<string, string>,
  status: { open: "open", regressed: "regressed", resolved: "resolved", ignored: "ignored" } as Record<Status, string>,
  search: "Search", searchLead: "words, \"a phrase\", -without", level: "Level", environment: "Environment", service: "Service", category: "Category", severity: "Severity", impact: "Impact", version: "Version", application: "Application", assignee: "Assignee",
  anyLevel: "every level", anyEnvironment: "every environment", anyService: "every service", anyCategory: "every category", anybody: "anybody", mine: "me", nobody: "nobody",
  issue: "Issue", trend: "Last 24 hours", count: "Errors", firstSeen: "First seen", lastSeen: "Last seen", choose: (title: string) => `Choose ${title}`, chosen: (n: number) => `${n} chosen`, chooseAll: "Choose all on this page",
  resolve: "Resolve", ignore: "Ignore", reopen: "Open again", assign: "Assign", merge: "Merge", split: "Split",
  emptyTitle: "No errors yet", emptyLead: "Once a program tells of an error, its cause stands here with how often it came, since when, and where. Send one now:",
  otherWays: "Exceptions in OpenTelemetry spans and log records come here by themselves when they are sent to Nexus.", noneFit: "No issue fits.", noneUnresolved: "Nothing is unresolved.", without: "Without filters", showAll: "Show all issues",
  sparkline: (counts: number[]) => `${counts.reduce((sum, n) => sum + n, 0)} errors in the last 24 hours, ${counts.at(-1) ?? 0} in this one`,
  mergeLead: (n: number, into: string) => `${n} issues become part of “${into}”, the one with most errors: their counts, notes and later errors are its own from then on. Split takes them out again.`,
  splitLead: "This cause becomes an issue of its own, with its own count; later errors of it go there.",
  facts: "About it", met: "Users met", regressions: "Came back", times: (n: number) => (n === 1 ? "once" : `${n} times`), resolvedBy: (who: string, at: string) => `Resolved by ${who}, ${at}.`, mergedInto: "This issue was merged into another one.", goThere: "Go there",
  over: "Errors over time", samples: "Samples", samplesLead: "The first ones and the newest ones of each cause are kept, without secrets.", noSamples: "No sample is kept any more: they are older than calls are kept.", newer: "Newer", older: "Older", sample: (place: number, of: string) => `Sample ${place} of ${of}`,
  stack: "Stack trace", noStack: "It came without a stack trace.", context: "Context", toolContext: "Tool", fields: "All fields",
  why: "Why grouped", rules: {
    explicit: "The program gave this fingerprint itself.", stack: "Errors with this message and these innermost places in the program are one.", message: "Errors with this message are one; no stack trace came with them.",
  } as Record<string, string>,
  whyLead: "This text is the same for all of them. Numbers, ids, addresses, ports, paths and quoted values are out of it.", causes: (n: number) => (n === 1 ? "One cause" : `${n} causes`),
  where: "Where it was seen", history: "History and notes", addNote: "Add a note", noteLabel: "Note", noHistory: "Nothing was done about it yet.", notesLead: "Why (optional)",
  event: (event: IssueEvent): string => {
    const name = said(event.detail, "name");
    const did: Record<string, string> = {
      resolved: "resolved it", ignored: "ignored it", reopened: "opened it again", regressed: "it came back", assigned: name ? `assigned it to ${name}` : event.detail.to ? "assigned it" : "took the assignee away", merged: "merged others into it", split: "split it", note: "noted",
    };
    return did[event.kind] ?? event.kind;
  },
  remark: (event: IssueEvent): string => said(event.detail, "text") || said(event.detail, "notes") || (Array.isArray(event.detail.titles) ? event.detail.titles.join(" · ") : said(event.detail, "service_version")),
};
