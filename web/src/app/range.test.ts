import { describe, expect, it } from "vitest";
import { before, calendarOf, filtersOf, instantOf, readView, spanOf, wallOf } from "./range";

describe("a view in the address", () => {
  it("keeps what it knows and leaves out the rest", () => {
    const view = readView({ range: "7d", zone: "Mars/Olympus", provider: "openai", status_code: 429, "tag:team": "search", evil: "x", errors: "true" });
    expect(view).toEqual({ range: "7d", provider: "openai", status_code: "429", "tag:team": "search", errors: "true" });
    expect(filtersOf(view)).toEqual({ provider: "openai", status_code: "429", "tag:team": "search" });
  });
  it("takes a range only forwards", () => {
    expect(readView({ from: "2026-02-01T00:00:00Z", to: "2026-01-01T00:00:00Z" })).toEqual({});
  });
  it("covers whole minutes when it is live", () => {
    const span = spanOf({ range: "1h" }, Date.parse("2026-01-01T10:00:30Z"));
    expect([span.from, span.to, span.interval]).toEqual([Date.parse("2026-01-01T09:01:00Z"), Date.parse("2026-01-01T10:01:00Z"), "1m"]);
    expect([span.last, before(span).last, before(span).to]).toEqual(["1h", undefined, span.from]);
  });
});

describe("the wall clock of a zone", () => {
  it("goes there and back, summer and winter", () => {
    for (const zone of ["UTC", "Asia/Kolkata", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe"])
      for (const at of ["2026-01-15T03:30:00Z", "2026-07-15T22:10:00Z"]) expect(instantOf(wallOf(Date.parse(at), zone), zone)).toBe(Date.parse(at));
  });
  it("begins days, weeks and months where the zone does", () => {
    const [from, to] = [Date.parse("2026-03-27T12:00:00Z"), Date.parse("2026-04-01T12:00:00Z")];
    const shown = (zone: string, interval: string) => calendarOf(from, to, zone, interval).map((at) => new Date(at).toISOString().slice(0, 16));
    expect(shown("Europe/Berlin", "1d")).toEqual(["2026-03-26T23:00", "2026-03-27T23:00", "2026-03-28T23:00", "2026-03-29T22:00", "2026-03-30T22:00", "2026-03-31T22:00"]);
    expect(shown("UTC", "1w")).toEqual(["2026-03-23T00:00", "2026-03-30T00:00"]);
    expect(shown("Asia/Kolkata", "1mo")).toEqual(["2026-02-28T18:30", "2026-03-31T18:30"]);
  });
  it("is not a number for what is no time", () => {
    expect(instantOf("", "UTC")).toBeNaN();
  });
  it("takes the first of two equal hours", () => {
    expect(instantOf("2026-10-25T02:30", "Europe/Berlin")).toBe(Date.parse("2026-10-25T00:30:00Z"));
  });
});
