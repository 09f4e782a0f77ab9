import { describe, expect, it } from "vitest";
import type { BucketStatus, Refusal } from "../../api/admission";
import { refusedBy, treeOf } from "./tree";
import { unitsOf } from "./units";

const bucket = (more: Partial<BucketStatus>): BucketStatus => ({ bucket: "a", limit: "iops", scope: "application", subject: "shop", dimension: "operations", method: "token_bucket", capacity: 1, available: 1, held: 0, shadow_refusals: 0, scale: 1, fill: 1, status: "healthy", share: null, ...more });

describe("the tree of limits", () => {
  it("goes from the widest scope to the narrowest and keeps its order whatever the figures", () => {
    const buckets = [bucket({ bucket: "k", scope: "key", subject: "1" }), bucket({ bucket: "z", subject: "zoo", fill: 0.1 }), bucket({ bucket: "s2", limit: "tokens", fill: 0.4 }), bucket({ bucket: "s1" }), bucket({ bucket: "o", scope: "organization", subject: "" })];
    const tree = treeOf(buckets, new Map([["s1", 3], ["s2", 4]]), (_, subject) => subject);
    expect(tree.map(([scope, branches]) => [scope, branches.map((item) => item.subject)])).toEqual([["organization", [""]], ["application", ["shop", "zoo"]], ["key", ["1"]]]);
    expect(tree[1]?.[1][0]).toMatchObject({ fill: 0.4, refused: 7 });
    expect(tree[1]?.[1][0]?.buckets.map((item) => item.limit)).toEqual(["iops", "tokens"]);
  });
  it("counts as refused only what was", () => {
    const item = { bucket: "a", kind: "refused", calls: 2 } as Refusal;
    expect(refusedBy([item, { ...item, kind: "shadow" }, { ...item, kind: "impossible" }]).get("a")).toBe(4);
  });
  it("writes units as people count", () => {
    expect(unitsOf(3_000_200, "operations", 1)).toBe("3 operations");
    expect(unitsOf(3_200_000, "operations", 1)).toBe("3.2 operations");
    expect(unitsOf(250_500_000_000, "money", 1)).toBe("251");
    expect(unitsOf(-1500, "tokens", 1)).toBe("−1\u202f500 model tokens");
  });
});
