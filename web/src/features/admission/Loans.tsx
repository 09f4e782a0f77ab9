import { Badge, Button, Group, Modal, SegmentedControl, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { BorrowingRule, Loan, Party } from "../../api/loans";
import { read, send } from "../../api/client";
import type { Page } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { Confirm, Heading, List, Panel, Teach } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { text } from "../../app/text";
import { Ending } from "./Costs";
import { LoanForm } from "./LoanForm";
import { LoanRules } from "./LoanRules";
import { countdown, shown, type Measure } from "./loanUnits";
import { loanText as words } from "./loanText";

const COLORS = { active: "blue", defaulted: "red", repaid: "teal", cancelled: "gray", written_off: "orange" } as const;
const PLAIN: Measure = { dimension: "requests", currency: "", scale: 1 };
type Act = { loan: Loan; kind: "repay" | "cancel" | "write-off" };

/** Who lends to whom, what is owed, and when it is due. */
export function Loans() {
  const { organization, may } = useScene();
  const client = useQueryClient();
  const [which, setWhich] = useState<"open" | "ended">("open");
  const [asking, setAsking] = useState(false);
  const [act, setAct] = useState<Act | null>(null);
  const now = useSecond();
  const loans = useQuery({ queryKey: ["loans", organization, which], refetchInterval: 2000, queryFn: ({ signal }) => read<Page<Loan>>("/api/admission/loans", { which, limit: "200" }, signal) });
  const parties = useQuery({ queryKey: ["loan-parties", organization], refetchInterval: 5000, queryFn: ({ signal }) => read<Party[]>("/api/admission/loans/parties", {}, signal) });
  const rules = useQuery({ queryKey: ["borrowing-rules", organization], queryFn: ({ signal }) => read<Page<BorrowingRule>>("/api/admission/borrowing-rules", { limit: "200" }, signal) });
  const again = () => void client.invalidateQueries({ predicate: (query) => ["loans", "loan-parties"].includes(String(query.queryKey[0])) });
  const known = new Map((parties.data ?? []).map((party) => [party.bucket, party]));
  const nameOf = (bucket: string) => { const party = known.get(bucket); return party ? [party.subject && party.scope !== "organization" ? party.subject : "", party.limit].filter(Boolean).join(" · ") : bucket; };
  const items = loans.data?.items ?? [];
  const mayBorrow = may("token:borrow");
  const isReady = Boolean(rules.data?.items.some((rule) => rule.is_active) && parties.data?.length);
  const button = mayBorrow && <Button size="xs" disabled={!isReady} onClick={() => setAsking(true)}>{words.request}</Button>;
  const owed = (loan: Loan) => loan.principal + loan.interest - loan.repaid - loan.interest_paid;
  const measure = (loan: Loan): Measure => known.get(loan.borrower) ?? PLAIN;
  return (
    <Stack gap="sm">
      <Heading title={words.title}>
        <SegmentedControl size="xs" aria-label={words.show} data={[{ value: "open", label: words.open }, { value: "ended", label: words.ended }]} value={which} onChange={(value) => setWhich(value === "ended" ? "ended" : "open")} />
        {button}
      </Heading>
      {loans.isError ? <Problem error={loans.error} retry={() => void loans.refetch()} /> : loans.data && !items.length ? (
        which === "ended" ? <Text size="sm" c="dimmed">{words.noEnded}</Text> : (
          <Teach title={words.emptyTitle}>
            {words.emptyLead}
            {rules.data && !rules.data.items.some((rule) => rule.is_active) ? <Text size="sm" mt="sm">{words.needsRule}</Text> : parties.data && !parties.data.length && <Text size="sm" mt="sm">{words.needsLimit}</Text>}
          </Teach>
        )
      ) : (
        <>
          <Text size="sm" c="dimmed">{words.lead}</Text>
          <Panel>
            <List name={words.title} minWidth={760} isLoading={loans.isPending} columns={[words.borrower, words.lender, { name: words.units, right: true }, { name: words.owed, right: true }, { name: words.repaid, right: true }, words.due, words.state, ""]}>
              {items.map((loan) => (
                <Table.Tr key={loan.id} data-loan={loan.id} data-state={loan.state}>
                  <Table.Td fw={600} style={{ overflowWrap: "anywhere" }}>{nameOf(loan.borrower)}{loan.reason && <Text size="xs" c="dimmed">{loan.reason}</Text>}</Table.Td>
                  <Table.Td style={{ overflowWrap: "anywhere" }}>{loan.lender ? nameOf(loan.lender) : words.ownFuture}</Table.Td>
                  <Table.Td className="right">{shown(loan.principal, measure(loan))}<Text size="xs" c="dimmed">+ {shown(loan.interest, measure(loan))} {words.interest.toLowerCase()}</Text></Table.Td>
                  <Table.Td className="right">{loan.ended_at ? "–" : shown(owed(loan), measure(loan))}</Table.Td>
                  <Table.Td className="right">{shown(loan.repaid + loan.interest_paid, measure(loan))}</Table.Td>
                  <Table.Td style={{ whiteSpace: "nowrap" }}>{loan.ended_at ? new Date(loan.ended_at).toLocaleString() : <Due at={loan.due_at} now={now} />}</Table.Td>
                  <Table.Td><Badge size="sm" variant="dot" tt="none" miw="max-content" color={COLORS[loan.state]}>{words.states[loan.state]}</Badge></Table.Td>
                  <Table.Td>
                    {!loan.ended_at && (
                      <Group gap={6} wrap="nowrap" justify="flex-end">
                        {mayBorrow && <Button size="compact-xs" variant="default" aria-label={`${words.repay} ${nameOf(loan.borrower)}`} onClick={() => setAct({ loan, kind: "repay" })}>{words.repay}</Button>}
                        {mayBorrow && loan.state === "active" && <Button size="compact-xs" variant="default" aria-label={`${words.cancel} ${nameOf(loan.borrower)}`} onClick={() => setAct({ loan, kind: "cancel" })}>{words.cancel}</Button>}
                        {may("token:adjust") && <Button size="compact-xs" variant="default" className="bad" aria-label={`${words.writeOff} ${nameOf(loan.borrower)}`} onClick={() => setAct({ loan, kind: "write-off" })}>{words.writeOff}</Button>}
                      </Group>
                    )}
                  </Table.Td>
                </Table.Tr>
              ))}
            </List>
          </Panel>
        </>
      )}
      {rules.isError ? <Problem error={rules.error} retry={() => void rules.refetch()} /> : <LoanRules rules={rules.data?.items ?? []} isLoading={rules.isPending} />}
      {asking && <LoanForm parties={parties.data ?? []} nameOf={nameOf} onClose={() => setAsking(false)} onDone={() => { setAsking(false); setWhich("open"); again(); }} />}
      <Confirm opened={act?.kind === "repay" || act?.kind === "cancel"} title={act?.kind === "cancel" ? words.cancel : words.repay} lead={act ? (act.kind === "cancel" ? words.cancelLead : words.repayLead(shown(owed(act.loan), measure(act.loan)))) : ""} onClose={() => setAct(null)} onDone={again} act={() => send(`/api/admission/loans/${act?.loan.id}/${act?.kind}`, {})} />
      {act?.kind === "write-off" && <WriteOff loan={act.loan} lead={words.writeOffLead(shown(owed(act.loan), measure(act.loan)), act.loan.lender ? nameOf(act.loan.lender) : words.ownFuture)} onClose={() => setAct(null)} onDone={() => { setAct(null); again(); }} />}
    </Stack>
  );
}

/** The second that has begun, for what runs down. */
function useSecond(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, []);
  return now;
}

function Due({ at, now }: { at: string; now: number }) {
  const left = (Date.parse(at) - now) / 1000;
  return left >= 0 ? <>{words.inTime(countdown(left))}</> : <span className="bad">{words.overdue(countdown(-left))}</span>;
}

function WriteOff({ loan, lead, onClose, onDone }: { loan: Loan; lead: string; onClose: () => void; onDone: () => void }) {
  const [reason, setReason] = useState("");
  const attempt = useAttempt();
  const submit = async () => { await send(`/api/admission/loans/${loan.id}/write-off`, { reason: reason.trim() }); onDone(); };
  return (
    <Modal opened onClose={onClose} title={words.writeOff} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          <Text size="sm">{lead}</Text>
          <TextInput data-autofocus label={words.why} required maxLength={1000} value={reason} error={attempt.fault?.of("reason")} onChange={(event) => setReason(event.currentTarget.value)} />
          <Ending attempt={attempt} fields={["reason"]} label={words.writeOff} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}
