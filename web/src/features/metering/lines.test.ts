import { describe, expect, it } from "vitest";
import type { Point, Series } from "../../api/types";
import { before } from "../../app/range";
import { lineBefore, splitLines, timesOf } from "./lines";

const series = (points: Partial<Point>[]): Series => ({ from: "", to: "", interval: "1h", as_of: "", currency: "USD", points: points as Point[] });
const hour = (place: number) => new Date(Date.parse("2026-01-01T00:00:00Z") + place * 3_600_000).toISOString();

describe("lines of a chart", () => {
  it("loses nothing when there are more names than lines", () => {
    const data = series(Array.from({ length: 20 }, (_, place) => ({ at: hour(0), provider: `p${place}`, requests: place + 1 })));
    const lines = splitLines([Date.parse(hour(0))], data, (point) => String(point.provider), (point) => point.requests);
    expect(lines).toHaveLength(8);
    expect(lines.reduce((sum, line) => sum + (line.values[0] ?? 0), 0)).toBe(210);
  });
  it("lays the period before under the one of now, gaps included", () => {
    const span = { from: Date.parse("2026-01-08T00:00:00Z"), to: Date.parse("2026-01-11T00:00:00Z"), isLive: false, interval: "1d", step: 86_400 };
    const then = series([{ at: "2026-01-05T00:00:00Z", requests: 5 }, { at: "2026-01-07T00:00:00Z", requests: 7 }]);
    const times = timesOf(span, undefined, "UTC");
    expect(times).toHaveLength(3);
    expect(lineBefore(times, before(span), then, "UTC", (point) => point.requests)[0]?.values).toEqual([5, null, 7]);
  });
  it("shows a gap as a gap", () => {
    const span = { from: Date.parse(hour(0)), to: Date.parse(hour(3)), isLive: false, interval: "1h", step: 3600 };
    const data = series([{ at: hour(0), provider: "a", requests: 1 }, { at: hour(2), provider: "a", requests: 2 }]);
    expect(splitLines(timesOf(span, data, "UTC"), data, () => "a", (point) => point.requests)[0]?.values).toEqual([1, null, 2]);
  });
});
