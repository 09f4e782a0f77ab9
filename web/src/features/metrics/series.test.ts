import { describe, expect, it } from "vitest";
import { spanOf } from "../../app/range";
import { linesOf, periodOf, questionOf, timesOf, withinText, writerOf, type Group, type MetricSeries } from "./series";

const HOUR = 3_600_000;
const now = Date.parse("2026-04-03T12:00:00Z");
const over = (hours: number, ago = 0) => spanOf({ from: new Date(now - (hours + ago) * HOUR).toISOString(), to: new Date(now - ago * HOUR).toISOString() }, now);
const group = (labels: Record<string, string>, points: Group["points"]): Group => ({ labels, series: 1, whole: {}, points });

describe("metrics", () => {
  it("takes the period that other charts have, and minutes only as long as they are kept", () => {
    expect([0.25, 1, 6, 24, 7 * 24, 30 * 24, 900 * 24].map((hours) => periodOf(over(hours), undefined, now))).toEqual(["1m", "1m", "5m", "15m", "1h", "1d", "1w"]);
    expect(periodOf(over(1, 400), undefined, now)).toBe("15m");
    expect(periodOf(over(24), "1h", now)).toBe("1h");
    expect(periodOf(over(24), "2h", now)).toBe("15m");
  });

  it("asks for a metric without a unit by an empty one", () => {
    expect(questionOf("a b", "gauge", "none", { "label.x": "1", group_by: undefined })).toBe("name=a+b&kind=gauge&unit=&label.x=1");
    expect(questionOf("a", undefined, undefined, {})).toBe("name=a");
  });

  it("writes values in their unit", () => {
    expect(writerOf("s", "p95")(0.25)).toBe("250\u202fms");
    expect(writerOf("By", "avg")(2048)).toBe("2.05\u202fkB");
    expect(writerOf("{job}", "last")(7)).toBe("7 job");
    expect(writerOf("s", "rate")(0.5)).toBe("0.5/s");
    expect(writerOf("1", "avg")(null)).toBe("–");
  });

  it("draws percentiles of one group and one line for each of several, gaps as gaps", () => {
    const data = { period: "1h", from: "2026-04-03T09:00:00Z", to: "2026-04-03T12:00:00Z" } as MetricSeries;
    const times = timesOf(data);
    const points = [{ at: "2026-04-03T09:00:00Z", p50: 1, p90: 2, p95: 3, p99: 4 }, { at: "2026-04-03T11:00:00Z", p50: 5, p90: 6, p95: 7, p99: 8 }];
    expect(times.length).toBe(3);
    expect(linesOf(times, [group({}, points)], "percentiles").map((line) => [line.name, line.values])).toEqual([["p50", [1, null, 5]], ["p90", [2, null, 6]], ["p95", [3, null, 7]], ["p99", [4, null, 8]]]);
    expect(linesOf(times, [group({ "label.a": "x" }, points), group({ "label.a": "" }, [])], "percentiles").map((line) => [line.name, line.values])).toEqual([["x", [3, null, 7]], ["(none)", [null, null, null]]]);
  });

  it("tells between what a percentile lies", () => {
    const write = writerOf("1", "p95");
    expect(withinText({ within: { p95: [1, 2] } }, "p95", write)).toBe("between 1 and 2");
    expect(withinText({ within: { p95: [1, null] } }, "p95", write)).toBe("above 1");
    expect(withinText({}, "p95", write)).toBeUndefined();
  });
});
