// What the list of calls can show, column by column.
import type { ReactNode } from "react";
import type { Call } from "../../api/types";
import { compact, duration, instant, moment, money } from "../../app/format";
import { text } from "../../app/text";

export interface CallColumn {
  id: string; name: string; right?: boolean; isCut?: boolean;
  /** What the API sorts it by. */
  sort?: string;
  cell: (call: Call, known: { zone: string; nameOf: (dimension: string, value: unknown) => string }) => ReactNode;
  title?: (call: Call) => string | undefined;
}

const or = (value: string | null | undefined) => value || "–";
const tagsOf = (call: Call) => Object.entries((call.tags as Record<string, string> | null) ?? {}).map(([name, value]) => `${name}: ${value}`).join(", ");

export const COLUMNS: CallColumn[] = [
  { id: "time", name: text.time, sort: "timestamp", cell: (call, { zone }) => <span style={{ whiteSpace: "nowrap" }} title={instant(call.timestamp, zone)}>{moment(call.timestamp, zone)}</span> },
  { id: "provider", name: text.provider, cell: (call) => call.provider },
  { id: "call", name: text.call, isCut: true, cell: (call) => or([call.method, call.endpoint].filter(Boolean).join(" ")) },
  { id: "model", name: text.model, isCut: true, cell: (call) => or(call.model) },
  { id: "status", name: text.status, right: true, cell: (call) => <span style={{ whiteSpace: "nowrap" }} className={call.status_code >= 400 || !call.status_code ? "bad" : undefined}>{call.refused_by !== null && `${text.refusedShort} `}{call.status_code}</span>, title: (call) => (call.refused_by === null ? undefined : text.refusedBy(call.refused_by)) },
  { id: "latency", name: text.latency, right: true, sort: "response_time_ms", cell: (call) => duration(call.response_time_ms) },
  { id: "tokens", name: text.tokens, right: true, sort: "tokens", cell: (call) => (call.tokens?.input || call.tokens?.output ? `${compact(call.tokens.input ?? 0)} / ${compact(call.tokens.output ?? 0)}` : "–") },
  { id: "cost", name: text.cost, right: true, sort: "cost", cell: (call) => money(call.cost, call.currency), title: (call) => call.unpriced_reason ?? undefined },
  { id: "user", name: text.user, isCut: true, cell: (call) => or(call.user) },
  { id: "key", name: text.prefix, isCut: true, cell: (call, { nameOf }) => (call.key ? nameOf("key", call.key) : "–") },
  { id: "application", name: text.application, isCut: true, cell: (call) => or(call.application as string | null) },
  { id: "region", name: text.region, cell: (call) => or(call.region as string | null) },
  { id: "tags", name: text.tags, isCut: true, cell: (call) => or(tagsOf(call)), title: tagsOf },
  { id: "error", name: text.message, isCut: true, cell: (call) => or(call.error_type ?? call.error_message), title: (call) => call.error_message ?? undefined },
];
export const USUAL = ["time", "provider", "call", "model", "status", "latency", "tokens", "cost", "user"];
/** What fits beside each other on a phone. */
export const NARROW = ["time", "provider", "status", "cost"];

/** The columns that a text such as `time,cost` names, in their own order; the usual ones where it names none. */
export function columnsOf(names: string | undefined, usual = USUAL): CallColumn[] {
  const wanted = (names ?? "").split(",");
  const found = COLUMNS.filter((column) => wanted.includes(column.id));
  return found.length ? found : COLUMNS.filter((column) => usual.includes(column.id));
}
