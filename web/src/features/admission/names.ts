import { queryOptions, useQuery } from "@tanstack/react-query";
import type { Application, Cluster, Quota, Scope } from "../../api/admission";
import { read } from "../../api/client";
import type { AccessKey, Member, Page, Provider } from "../../api/types";
import { useScene } from "../../app/context";

const all = { limit: "500" };
export const applicationsOf = (organization: string) => queryOptions({ queryKey: ["applications", organization], queryFn: ({ signal }) => read<Page<Application>>("/api/admission/applications", all, signal) });
export const clustersOf = (organization: string) => queryOptions({ queryKey: ["clusters", organization], queryFn: ({ signal }) => read<Page<Cluster>>("/api/admission/clusters", all, signal) });
export const quotasOf = (organization: string) => queryOptions({ queryKey: ["quotas", organization], queryFn: ({ signal }) => read<Page<Quota>>("/api/admission/quotas", all, signal) });

export interface Choice { value: string; label: string }

/** Who there is of a scope, as far as the person may see them: to choose from, and to name what carries an id. */
export function useSubjects(): { choices: (scope: Scope) => Choice[]; nameOf: (scope: Scope, subject: string) => string } {
  const { organization, may } = useScene();
  const applications = useQuery({ ...applicationsOf(organization), enabled: may("application:read") });
  const clusters = useQuery({ ...clustersOf(organization), enabled: may("application:read") });
  const keys = useQuery({ enabled: may("key:read"), staleTime: 60_000, queryKey: ["keys", organization, "all"], queryFn: ({ signal }) => read<Page<AccessKey>>("/api/identity/access-keys", { ...all, revoked: "true" }, signal) });
  const members = useQuery({ enabled: may("user:read"), staleTime: 60_000, queryKey: ["members", organization, "all"], queryFn: ({ signal }) => read<Page<Member>>("/api/identity/members", all, signal) });
  const providers = useQuery({ enabled: may("catalog:read"), staleTime: 60_000, queryKey: ["providers", organization, "all"], queryFn: ({ signal }) => read<Page<Provider>>("/api/catalog/providers", all, signal) });
  const same = (value: string) => ({ value, label: value });
  const choices = (scope: Scope): Choice[] => {
    if (scope === "application") {
      const named = [...(applications.data?.items ?? []).map((item) => item.name), ...(keys.data?.items ?? []).map((item) => item.application)];
      return [...new Set(named.filter(Boolean))].sort().map(same);
    }
    if (scope === "cluster") return (clusters.data?.items ?? []).map((item) => same(item.name));
    if (scope === "key") return (keys.data?.items ?? []).map((item) => ({ value: item.id, label: `${item.name} (${item.prefix}…)` }));
    if (scope === "user") return (members.data?.items ?? []).map((item) => ({ value: item.user_id, label: item.name ? `${item.name} (${item.email})` : item.email }));
    if (scope === "provider") return (providers.data?.items ?? []).map((item) => same(item.slug));
    return [];
  };
  return { choices, nameOf: (scope, subject) => choices(scope).find((item) => item.value === subject)?.label ?? subject };
}
