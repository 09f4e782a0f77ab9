import { useLocation, useRouter, type RouterHistory } from "@tanstack/react-router";
import { useSyncExternalStore } from "react";
import { readSearch } from "./range";

export interface Address { path: string; search: Record<string, string> }

/**
 * The address whose page is drawn, with what it says about the view.
 *
 * The router tells of a change only once a page is ready, which takes a slow machine a moment; a box that was ticked would
 * stay empty for so long. So the view is read from the history itself, where it stands as soon as it is asked for. While
 * another page is on its way the drawn one keeps its own view.
 */
export function useAddress(): Address & { now: () => Address } {
  const { history } = useRouter() as { history: RouterHistory };
  const drawn = useLocation();
  const known = useSyncExternalStore(history.subscribe, () => history.location);
  const now = () => ({ path: history.location.pathname, search: readSearch(history.location.search) });
  return { path: drawn.pathname, search: known.pathname === drawn.pathname ? readSearch(known.search) : (drawn.search as Record<string, string>), now };
}
