import { describe, expect, it } from "vitest";
import type { Limit, Limits } from "./queries";
import { allowanceOf, iops, throughput } from "./rates";

const limit = (more: Partial<Limit>): Limit => ({ id: "1", name: "iops", application: null, dimension: "operations", burst: 1000, per_second: 500, is_shadow: false, ...more });

describe("rates of storage", () => {
  it("keeps small ones visible", () => {
    expect([null, 0, 0.004, 0.4126, 12.345, 51_200].map(iops)).toEqual(["–", "0", "<0.01", "0.413", "12.3", "51.2\u202fk"]);
    expect([null, 0, 0.4, 512, 20_000_000].map(throughput)).toEqual(["–", "0\u202fB/s", "<1\u202fB/s", "512\u202fB/s", "20\u202fMB/s"]);
  });
  it("takes the tightest limit in force, an application's own or everybody's", () => {
    const known: Limits = {
      limits: [limit({}), limit({ application: "shop", per_second: 200 }), limit({ application: "blog", per_second: 1 }), limit({ per_second: 5, is_shadow: true }), limit({ dimension: "bytes", per_second: null })],
      admitted: [{ application: "shop", dimension: "operations", units: 3600, units_per_second: 1 }],
    };
    expect(allowanceOf(known, "shop", "operations")).toEqual({ perSecond: 200, admitted: 1, isOwn: true });
    expect(allowanceOf(known, "batch", "operations")).toEqual({ perSecond: 500, admitted: 0, isOwn: false });
    expect(allowanceOf(known, "shop", "bytes")).toBeNull();
    expect(allowanceOf({ ...known, admitted: null }, "shop", "operations")?.admitted).toBeNull();
    expect(allowanceOf(known, null, "operations")).toBeNull();
  });
});
