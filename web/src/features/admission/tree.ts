import type { BucketStatus, Refusal, Scope } from "../../api/admission";

/** From the widest to the narrowest, as calls pass them. */
export const SCOPES: Scope[] = ["organization", "cluster", "application", "user", "key", "tag", "provider", "model", "endpoint"];

export interface Branch { scope: Scope; subject: string; buckets: BucketStatus[]; fill: number; refused: number }

/** Calls that were refused by each bucket; what a limit in shadow mode would have refused is not among them. */
export function refusedBy(refusals: Refusal[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const item of refusals) if (item.kind !== "shadow") found.set(item.bucket, (found.get(item.bucket) ?? 0) + item.calls);
  return found;
}

/** Buckets by scope and by whose they are. Whose are named in their order, so that nothing moves while figures do. */
export function treeOf(buckets: BucketStatus[], refused: Map<string, number>, nameOf: (scope: Scope, subject: string) => string): [Scope, Branch[]][] {
  const branches = new Map<string, Branch>();
  for (const bucket of buckets) {
    const place = `${bucket.scope} ${bucket.subject}`;
    const branch = branches.get(place) ?? { scope: bucket.scope, subject: bucket.subject, buckets: [], fill: 1, refused: 0 };
    branch.buckets.push(bucket);
    branch.fill = Math.min(branch.fill, bucket.fill);
    branch.refused += refused.get(bucket.bucket) ?? 0;
    branches.set(place, branch);
  }
  for (const branch of branches.values()) branch.buckets.sort((one, other) => one.limit.localeCompare(other.limit) || one.bucket.localeCompare(other.bucket));
  return SCOPES.flatMap((scope): [Scope, Branch[]][] => {
    const found = [...branches.values()].filter((branch) => branch.scope === scope).sort((one, other) => nameOf(scope, one.subject).localeCompare(nameOf(scope, other.subject)));
    return found.length ? [[scope, found]] : [];
  });
}
