import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useDebouncedValue } from "@mantine/hooks";
import type { LimitSpec, QuotaPreview } from "../../api/admission";
import { ApiError, send } from "../../api/client";

const WAIT_MS = 250;

export interface Draft { limits: LimitSpec[]; quota_id?: string; valid_from?: string; valid_to?: string }
export interface Check { preview: QuotaPreview | null; faultOf: (field: string) => string | undefined; isPending: boolean; error: ApiError | null }

/** What the server says of a version while it is typed: what is wrong with which field, or what it would change. */
export function useCheck(organization: string, draft: Draft): Check {
  const spelled = JSON.stringify(draft);
  const [asked] = useDebouncedValue(spelled, WAIT_MS);
  const query = useQuery({
    queryKey: ["quota-preview", organization, asked], gcTime: 0, retry: false, placeholderData: keepPreviousData,
    queryFn: () => send<QuotaPreview>("/api/admission/quotas/preview", JSON.parse(asked)),
  });
  const error = query.isError ? ApiError.from(query.error) : null;
  // `limits[0].rate` of what cannot be read, `limits.0.rate` of what makes no sense: one field.
  const faults = new Map((error?.problem.errors ?? []).map((fault) => [fault.field, fault.message]));
  const isPending = asked !== spelled || query.isFetching;
  return { preview: query.isSuccess && !query.isPlaceholderData ? query.data : null, faultOf: (field) => faults.get(field), isPending, error };
}
