import { Anchor, Group, Table, Text } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Fragment } from "react";
import { read } from "../../api/client";
import type { Call, Page, ProviderCredential } from "../../api/types";
import { useScene } from "../../app/context";
import { duration } from "../../app/format";
import { List } from "../../app/parts";
import { text } from "../../app/text";
import { isFailure } from "./CallHead";
import { placeOf } from "./callPlace";
import { gatewayOf, isLater, partsOf, pauseBetween, stretchesOf, type Stretch } from "./timing";

const KINDS: Record<Stretch["kind"], string> = { queue: text.queue, firstByte: text.untilFirstByte, rest: text.streaming, whole: text.untilEnd };

/** Why an attempt was not the last one, and what came after it. */
function outcomeOf(call: Call, next: Call | undefined): string {
  const reason = call.refused_by !== null ? text.refusedBy(call.refused_by) : call.error_type ?? (isFailure(call) ? `HTTP ${call.status_code}` : "");
  if (!next) return isFailure(call) ? `${reason}: ${text.handedOn}` : text.answered;
  const ms = pauseBetween(call, next);
  const pause = ms < 1 ? text.atOnce : text.laterBy(duration(ms));
  const told = call.refused_by !== null ? text.notSent : call.status_code === 429 ? text.wasLimited : call.status_code ? text.hasFailed : text.notReached;
  return `${told} (${reason}); ${next.provider === call.provider && next.model === call.model ? text.triedAgain(pause) : text.wentOn([next.provider, next.model].filter(Boolean).join("/"), pause)}`;
}

/** The attempts that one request took: where each went, how it ended, and how they lie in time. */
export function Attempts({ calls, current }: { calls: Call[]; current?: string }) {
  const { go, may, organization } = useScene();
  const credentials = useQuery({ queryKey: ["credentials", organization], enabled: may("credential:read"), queryFn: ({ signal }) => read<Page<ProviderCredential>>("/api/identity/provider-credentials", { limit: "500" }, signal) });
  const nameOf = (id: string | undefined) => (id ? (credentials.data?.items.find((item) => item.id === id)?.name ?? id.slice(0, 8)) : "–");
  // A phone has room for how each went, not for where exactly: that is among the fields of each.
  const isNarrow = useMediaQuery("(max-width: 48em)", undefined, { getInitialValueInEffect: false });
  const bars = stretchesOf(calls);
  const kinds = (["queue", "firstByte", "rest", "whole"] as const).filter((kind) => bars.some((bar) => bar.some((item) => item.kind === kind)));
  return (
    <>
      <List name={text.attempts} minWidth={isNarrow ? 0 : 760} columns={["#", text.provider, ...(isNarrow ? [] : [text.endpointRegion, text.credential]), { name: text.status, right: true }, text.outcome, ...(isNarrow ? [] : [{ name: text.duration, right: true }])]}>
        {calls.map((call, place) => {
          const { path, view } = placeOf(call);
          const isOpen = call.id === current;
          return [
            <Table.Tr key={call.id} className="over" data-attempt aria-current={isOpen ? "true" : undefined} fw={isOpen && calls.length > 1 ? 600 : undefined}>
              <Table.Td>{isOpen ? place + 1 : <Anchor size="sm" href={path} aria-label={text.attempt(place + 1)} onClick={(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); go(view, path); }}>{place + 1}</Anchor>}</Table.Td>
              <Table.Td>{call.provider}<Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{call.model}</Text></Table.Td>
              {!isNarrow && <Table.Td style={{ overflowWrap: "anywhere" }}>{call.endpoint ? call.endpoint.split("/").map((part, step) => <Fragment key={step}>{step > 0 && <>/<wbr /></>}{part}</Fragment>) : "–"}{call.region ? <Text size="xs" c="dimmed">{call.region as string}</Text> : null}</Table.Td>}
              {!isNarrow && <Table.Td>{nameOf(gatewayOf(call)?.credential)}</Table.Td>}
              <Table.Td className="right"><span className={isFailure(call) ? "bad" : undefined}>{call.status_code || text.noAnswer}</span></Table.Td>
              <Table.Td>{outcomeOf(call, calls[place + 1])}{gatewayOf(call)?.client_left && <Text size="xs">{text.clientLeft}</Text>}</Table.Td>
              {!isNarrow && <Table.Td className="right" style={{ whiteSpace: "nowrap" }}>{duration(call.response_time_ms)}</Table.Td>}
            </Table.Tr>,
            <Table.Tr key={`${call.id} time`} className="under"><Table.Td colSpan={isNarrow ? 4 : 7} pt={0}><Bar call={call} stretches={bars[place] ?? []} number={place + 1} /></Table.Td></Table.Tr>,
          ];
        })}
      </List>
      <Group gap="md" mt={6}>{kinds.map((kind) => <Text key={kind} size="xs" c="dimmed"><span className={`swatch part-${kind}`} aria-hidden />{KINDS[kind]}</Text>)}</Group>
    </>
  );
}

/** When an attempt waited for what, on a bar that all attempts share. */
function Bar({ call, stretches, number }: { call: Call; stretches: Stretch[]; number: number }) {
  const parts = partsOf(call);
  const words = ([["queue", isLater(call) ? null : parts.queue], ["firstByte", parts.firstByte], ["rest", parts.rest], ["whole", parts.firstByte === null ? parts.total : null]] as const)
    .filter(([, value]) => value !== null).map(([kind, value]) => `${KINDS[kind]} ${duration(value)}`);
  return (
    <div className="timebar" role="img" aria-label={`${text.attempt(number)}: ${words.join(", ") || text.noTiming}`} title={words.join(", ")}>
      {stretches.map((item) => <span key={item.kind} className={`part-${item.kind}`} style={{ left: `${item.from * 100}%`, width: `max(2px, ${item.length * 100}%)` }} />)}
    </div>
  );
}
