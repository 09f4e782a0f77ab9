import type { Call } from "../../api/types";
import type { View } from "../../app/range";

/** Where a call has its page. An id that is no UUIDv7 carries no time: the call is found by its timestamp, too. */
export const placeOf = (call: Call): { path: string; view: View } => ({ path: `/calls/${call.id}`, view: { at: call.id[14] === "7" ? undefined : call.timestamp } });
