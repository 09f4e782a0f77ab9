import { useQuery } from "@tanstack/react-query";
import { amend, read } from "../../api/client";
import type { Member, Page } from "../../api/types";
import { useScene } from "../../app/context";
import type { View } from "../../app/range";
import type { Issue } from "./types";

export const FILTERS = ["level", "environment", "service", "category", "assignee"] as const;
export const AGAIN_MS = 10_000;
export interface Change { status?: "resolved" | "ignored" | "open"; assignee_id?: string | null; notes?: string }

/** What the list is asked for, from what the address says. */
export function wantedOf(view: View): Record<string, string | undefined> {
  const status = view.status ?? "unresolved";
  return {
    status: status === "all" ? undefined : status, q: view.q, sort: view.order,
    ...Object.fromEntries(FILTERS.map((name) => [name, view[name]])),
  };
}

export const pageOfIssues = (wanted: Record<string, string | undefined>, cursor: string | undefined, signal?: AbortSignal) => read<Page<Issue>>("/api/errors", { ...wanted, limit: "50", cursor }, signal);
export const changeAll = (ids: string[], change: Change) => amend<Issue[]>("/api/errors", { ids, ...change });
export const changeOne = (id: string, change: Change) => amend<Issue>(`/api/errors/${id}`, change);

/** Who an issue can be given to. */
export function usePeople() {
  const { organization, may } = useScene();
  const members = useQuery({ queryKey: ["members", organization], enabled: may("user:read"), queryFn: () => read<Page<Member>>("/api/identity/members") });
  return (members.data?.items ?? []).map((member) => ({ value: member.user_id, label: member.name || member.email }));
}
