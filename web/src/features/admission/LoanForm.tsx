import { Modal, Paper, Select, Stack, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, send } from "../../api/client";
import type { LoanOffer, Party } from "../../api/loans";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { percent } from "../../app/format";
import { text } from "../../app/text";
import { Ending } from "./Costs";
import { decimalOf, shown, unitsOf } from "./loanUnits";
import { loanText as words } from "./loanText";
import { quotaText } from "./quotaText";

const OWN = "";

/** Asks for a loan, and says what it costs and when it is due before it is asked for. */
export function LoanForm({ parties, nameOf, onClose, onDone }: { parties: Party[]; nameOf: (bucket: string) => string; onClose: () => void; onDone: () => void }) {
  const { organization } = useScene();
  const poorest = [...parties].sort((one, other) => one.available / one.capacity - other.available / other.capacity)[0];
  const [borrower, setBorrower] = useState(poorest?.bucket ?? "");
  const [chosen, setLender] = useState<string | null>(null);
  const [amount, setAmount] = useState("");
  const [seconds, setSeconds] = useState("");
  const [reason, setReason] = useState("");
  const attempt = useAttempt();
  const mine = parties.find((party) => party.bucket === borrower);
  const alike = parties.filter((party) => mine && party.bucket !== borrower && party.dimension === mine.dimension && party.scale === mine.scale && party.currency === mine.currency);
  const lender = chosen === null || (chosen !== OWN && !alike.some((party) => party.bucket === chosen)) ? (alike[0]?.bucket ?? OWN) : chosen;
  const theirs = alike.find((party) => party.bucket === lender);
  const units = mine ? unitsOf(amount, mine) : null;
  const time = seconds.trim() === "" ? undefined : Number(seconds);
  const question = { borrower, units, ...(lender === OWN ? {} : { lender }), ...(time === undefined ? {} : { seconds: time }) };
  const [asked] = useDebouncedValue(JSON.stringify(question), 200);
  const offer = useQuery({ queryKey: ["loan-offer", organization, asked], enabled: units !== null && (time === undefined || (Number.isInteger(time) && time > 0)), retry: false, queryFn: () => send<LoanOffer>("/api/admission/loans/offer", JSON.parse(asked)) });
  const fault = attempt.fault ?? (offer.isError ? ApiError.from(offer.error) : null);
  const submit = async () => { await send("/api/admission/loans", { ...question, reason: reason.trim() }); onDone(); };
  const label = (party: Party) => ({ value: party.bucket, label: `${nameOf(party.bucket)} (${words.has(decimalOf(party.available, party), shown(party.capacity, party))})` });
  return (
    <Modal opened onClose={onClose} title={words.request} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          <Select label={words.borrower} required allowDeselect={false} searchable data={parties.map(label)} value={borrower} error={fault?.of("borrower")} onChange={(value) => setBorrower(value ?? "")} comboboxProps={{ withinPortal: false }} />
          <Select label={words.lender} allowDeselect={false} data={[...alike.map(label), { value: OWN, label: words.ownFuture }]} value={lender} error={fault?.of("lender")} onChange={(value) => setLender(value ?? OWN)} comboboxProps={{ withinPortal: false }} />
          <TextInput data-autofocus inputMode="decimal" label={words.amount(mine ? (mine.dimension === "money" ? mine.currency : quotaText.counted[mine.dimension]) : "")} required value={amount}
            description={mine && offer.data ? words.amountLead(shown(offer.data.most, mine), theirs ? shown(Math.max(0, theirs.available - theirs.reserve), theirs) : null) : undefined}
            error={amount && units === null ? words.badAmount : fault?.of("units")} onChange={(event) => setAmount(event.currentTarget.value)} />
          <TextInput inputMode="numeric" label={words.seconds} description={words.secondsLead} value={seconds} error={fault?.of("seconds")} onChange={(event) => setSeconds(event.currentTarget.value)} />
          <TextInput label={words.reason} maxLength={1000} value={reason} error={fault?.of("reason")} onChange={(event) => setReason(event.currentTarget.value)} />
          {mine && offer.data && units !== null && (
            <Paper withBorder p="sm" data-offer role="group" aria-label={words.what}>
              <Text size="sm" fw={600}>{words.what}</Text>
              <Text size="sm">{words.pays(shown(offer.data.principal, mine), shown(offer.data.interest, mine), shown(offer.data.owed, mine))}</Text>
              <Text size="sm">{words.dueAt(new Date(offer.data.due_at).toLocaleTimeString(), words.times(offer.data.seconds))}</Text>
              <Text size="sm" className={offer.data.will_default ? "bad" : undefined}>{(offer.data.will_default ? words.willDefault : words.byItself)(percent(Number(offer.data.repay_share)), words.times(offer.data.repaid_after_seconds))}</Text>
              <Text size="xs" c="dimmed">{words.rule(offer.data.rule, percent(Number(offer.data.interest_rate)))}</Text>
            </Paper>
          )}
          {offer.isError && !["borrower", "lender", "units", "seconds"].some((field) => fault?.of(field)) && <Text size="sm" className="bad" role="alert">{fault?.message}</Text>}
          <Ending attempt={attempt} fields={["borrower", "lender", "units", "seconds", "reason"]} label={words.request} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}
