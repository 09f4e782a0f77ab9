import { Badge, Button, Group, Modal, Select, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { amend, send } from "../../api/client";
import type { BorrowingRule } from "../../api/loans";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { percent } from "../../app/format";
import { List, Panel } from "../../app/parts";
import { text } from "../../app/text";
import { Ending } from "./Costs";
import { loanText as words } from "./loanText";
import { applicationsOf } from "./names";

/** Which limits may borrow, from whom, and on what terms. */
export function LoanRules({ rules, isLoading }: { rules: BorrowingRule[]; isLoading: boolean }) {
  const { may } = useScene();
  const client = useQueryClient();
  const [edited, setEdited] = useState<BorrowingRule | "new" | null>(null);
  return (
    <Panel title={words.rules} aside={may("quota:create") && <Button size="compact-sm" variant="default" onClick={() => setEdited("new")}>{words.addRule}</Button>}>
      <Text size="sm" c="dimmed" mb={6}>{words.rulesLead}</Text>
      {!isLoading && !rules.length ? <Text size="sm">{words.noRules}</Text> : (
        <List name={words.rules} minWidth={700} isLoading={isLoading} columns={[text.name, words.who, words.from, { name: words.ratio, right: true }, { name: words.rate, right: true }, { name: words.longest, right: true }, { name: words.share, right: true }, { name: words.most, right: true }, ""]}>
          {rules.map((rule) => (
            <Table.Tr key={rule.id} data-rule={rule.name}>
              <Table.Td fw={600}>{rule.name}{!rule.is_active && <Badge ml={6} size="sm" variant="dot" tt="none" color="gray">{words.off}</Badge>}</Table.Td>
              <Table.Td>{rule.application ?? words.anyone}</Table.Td>
              <Table.Td>{words.source(rule)}</Table.Td>
              <Table.Td className="right">{Number(rule.max_ratio)}</Table.Td>
              <Table.Td className="right">{percent(Number(rule.interest_rate))}</Table.Td>
              <Table.Td className="right">{words.times(rule.max_seconds)}</Table.Td>
              <Table.Td className="right">{percent(Number(rule.repay_share))}</Table.Td>
              <Table.Td className="right">{rule.most_loans}</Table.Td>
              <Table.Td className="right">{may("quota:update") && <Button size="compact-xs" variant="default" aria-label={`${words.edit} ${rule.name}`} onClick={() => setEdited(rule)}>{words.edit}</Button>}</Table.Td>
            </Table.Tr>
          ))}
        </List>
      )}
      {edited && <Form rule={edited === "new" ? null : edited} onClose={() => setEdited(null)} onDone={() => { setEdited(null); void client.invalidateQueries({ queryKey: ["borrowing-rules"] }); }} />}
    </Panel>
  );
}

function Form({ rule, onClose, onDone }: { rule: BorrowingRule | null; onClose: () => void; onDone: () => void }) {
  const { organization, may } = useScene();
  const applications = useQuery({ ...applicationsOf(organization), enabled: may("application:read") });
  const [name, setName] = useState("");
  const [who, setWho] = useState<string>("");
  const [from, setFrom] = useState<string>("any");
  const [theirs, setTheirs] = useState<string | null>(null);
  const [isActive, setActive] = useState(rule?.is_active ?? true);
  const [terms, setTerms] = useState({ max_ratio: rule?.max_ratio ?? "", interest_rate: rule?.interest_rate ?? "", max_seconds: rule ? String(rule.max_seconds) : "", repay_share: rule?.repay_share ?? "", most_loans: rule ? String(rule.most_loans) : "" });
  const attempt = useAttempt();
  const choices = (applications.data?.items ?? []).map((item) => ({ value: item.id, label: item.name }));
  const whole = (value: string) => (/^\d+$/.test(value) ? Number(value) : value);
  const submit = async () => {
    const said = Object.fromEntries(Object.entries(terms).filter(([, value]) => value.trim() !== "").map(([field, value]) => [field, field === "max_seconds" || field === "most_loans" ? whole(value.trim()) : value.trim()]));
    await (rule
      ? amend(`/api/admission/borrowing-rules/${rule.id}`, { ...said, is_active: isActive })
      : send("/api/admission/borrowing-rules", { ...said, name: name.trim(), lends_from: from, ...(who ? { application_id: who } : {}), ...(from === "application" && theirs ? { lender_application_id: theirs } : {}) }));
    onDone();
  };
  const field = (key: keyof typeof terms, label: string, lead?: string, left = words.empty) => (
    <TextInput label={label} inputMode="decimal" description={[lead, rule ? "" : left].filter(Boolean).join("; ")} value={terms[key]} error={attempt.fault?.of(key)} onChange={(event) => setTerms({ ...terms, [key]: event.currentTarget.value })} />
  );
  return (
    <Modal opened onClose={onClose} title={rule ? `${words.edit} ${rule.name}` : words.addRule} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack gap="sm">
          {!rule && (
            <>
              <TextInput data-autofocus label={text.name} required maxLength={63} value={name} error={attempt.fault?.of("name")} onChange={(event) => setName(event.currentTarget.value)} />
              <Select label={words.who} allowDeselect={false} data={[{ value: "", label: words.anyone }, ...choices]} value={who} error={attempt.fault?.of("application_id")} onChange={(value) => setWho(value ?? "")} comboboxProps={{ withinPortal: false }} />
              <Select label={words.from} allowDeselect={false} data={[{ value: "any", label: words.any }, { value: "application", label: words.application }, { value: "own_future", label: words.ownFuture }]} value={from} onChange={(value) => setFrom(value ?? "any")} comboboxProps={{ withinPortal: false }} />
              {from === "application" && <Select label={words.lender} required data={choices} value={theirs} error={attempt.fault?.of("lender_application_id")} onChange={setTheirs} comboboxProps={{ withinPortal: false }} />}
            </>
          )}
          <Group grow align="start">{field("max_ratio", words.ratio, words.ratioLead)}{field("interest_rate", words.rate, words.rateLead)}</Group>
          <Group grow align="start">{field("max_seconds", words.longest, words.longestLead)}{field("repay_share", words.share, words.shareLead)}</Group>
          {field("most_loans", words.most, undefined, words.mostLead)}
          {rule && <Switch label={words.isActive} checked={isActive} onChange={(event) => setActive(event.currentTarget.checked)} />}
          <Ending attempt={attempt} fields={["name", "application_id", "lender_application_id", ...Object.keys(terms)]} label={text.save} onClose={onClose} />
        </Stack>
      </form>
    </Modal>
  );
}
