// The words of the page about loans, loaded with it.
import type { BorrowingRule, LoanState } from "../../api/loans";

const times = (seconds: number) => (seconds >= 3600 ? `${Number((seconds / 3600).toFixed(1))} h` : seconds >= 60 ? `${Number((seconds / 60).toFixed(1))} min` : `${seconds} s`);
export const loanText = {
  title: "Loans", lead: "A limit that has run empty borrows units from one that is full, or from its own future. A share of what it refills pays them back, with interest.",
  open: "Open", ended: "Ended", rules: "Borrowing rules", request: "Borrow", show: "Which loans",
  emptyTitle: "No loan is open", noEnded: "No loan has ended yet.",
  emptyLead: "When a limit has run empty and its work cannot wait, let it borrow: the units move at once, interest goes to the lender, and a share of what the borrower refills pays it back by itself. Whether and on what terms a limit may borrow is said by a borrowing rule.",
  needsRule: "Nobody may borrow until there is a borrowing rule.", needsLimit: "There is no limit that refills: make a quota with one first.",
  borrower: "Borrower", lender: "Lender", ownFuture: "its own future", units: "Units", owed: "Outstanding", interest: "Interest", due: "Due", repaid: "Repaid", state: "State", asked: "Asked by", recovered: "recovered from the limiter",
  states: { active: "active", defaulted: "defaulted", repaid: "repaid", cancelled: "cancelled", written_off: "written off" } as Record<LoanState, string>,
  inTime: (left: string) => `in ${left}`, overdue: (by: string) => `${by} overdue`, of: (part: string, whole: string) => `${part} of ${whole}`, times,
  amount: (unit: string) => `How much (${unit})`, amountLead: (most: string, spare: string | null) => (spare ? `The lender can spare ${spare}; loans may come to ${most}.` : `Its loans may come to ${most}.`), seconds: "For how many seconds", secondsLead: "Empty: as long as the rule allows.", reason: "Why", has: (amount: string, whole: string) => `has ${amount} of ${whole}`,
  what: "What will happen", rule: (name: string, rate: string) => `By the rule ${name}, at ${rate} interest.`, pays: (principal: string, interest: string, owed: string) => `${principal} now; ${interest} interest; ${owed} to repay.`, dueAt: (at: string, after: string) => `Due at ${at}, in ${after}.`,
  byItself: (share: string, after: string) => `${share} of its refill repays it in ${after}.`, willDefault: (share: string, after: string) => `${share} of its refill would take ${after} to repay it: that is too late. Repay it by hand, or from then on the limit's whole refill goes to it.`, asking: "Working out what it costs …", badAmount: "Give a positive number.",
  repay: "Repay", repayLead: (owed: string) => `Pays up to ${owed} now, out of what the limit has above its reserve.`, cancel: "Give back", cancelLead: "Gives the units back without interest. That is possible while the limit still has what it borrowed.", writeOff: "Write off", writeOffLead: (owed: string, lender: string) => `${owed} will not be paid back. That is the loss of ${lender}, and cannot be undone.`, why: "Reason",
  addRule: "Add a rule", edit: "Edit", noRules: "No rules yet: no limit may borrow.", rulesLead: "Which limits may borrow, from whom, and on what terms. The system's settings are never exceeded.", who: "Who may borrow", anyone: "every limit", from: "From", any: "any limit that counts the same", application: "one application", ratio: "Ratio", ratioLead: "How many times its capacity it may have by borrowing", rate: "Interest", rateLead: "0.1 is 10 %", longest: "Longest", longestLead: "seconds", share: "Share of refill", shareLead: "0.5 is half", most: "Loans at once", mostLead: "empty: 2", isActive: "In force", off: "off", empty: "empty: the system's setting",
  source: (rule: BorrowingRule) => (rule.lends_from === "own_future" ? "its own future" : rule.lends_from === "any" ? "any limit that counts the same" : `limits of ${rule.lender_application}`),
};
