import { describe, expect, it } from "vitest";
import { compact, count, delta, duration, moment, money, percent } from "./format";

describe("figures", () => {
  it("keeps small costs visible and rounds exactly", () => {
    expect(money("0.00042", "USD")).toBe("$0.00042");
    expect(money("51.4309475", "USD")).toBe("$51.43");
    expect(money("0.995", "USD")).toBe("$1.00");
    expect(money("1234567.005", "EUR")).toBe("€1\u202f234\u202f567.01");
    expect(money("0", "USD")).toBe("$0.00");
    expect(money("-0.5", "SEK")).toBe("−0.50\u202fSEK");
    expect(money("9007199254740993.01", "USD")).toBe("$9\u202f007\u202f199\u202f254\u202f740\u202f993.01");
    expect(money(null, "USD")).toBe("–");
  });
  it("writes counts, shares and durations with units", () => {
    expect(count(1234567)).toBe("1\u202f234\u202f567");
    expect(compact(12_400_000)).toBe("12.4\u202fM");
    expect([compact(100_000), compact(120_000), compact(999_600), compact(1_000_000), compact(1_230)]).toEqual(["100\u202fk", "120\u202fk", "1000\u202fk", "1\u202fM", "1.23\u202fk"]);
    expect(percent(0.0123)).toBe("1.23\u202f%");
    expect(percent(0.00001)).toBe("<0.01\u202f%");
    expect(percent(null)).toBe("–");
    expect(duration(0.25)).toBe("0.25\u202fms");
    expect(duration(1532)).toBe("1.53\u202fs");
  });
  it("says how much changed, and nothing where there was nothing", () => {
    expect(delta(112, 100)).toBe("+12\u202f%");
    expect(delta(99.5, 100)).toBe("−0.5\u202f%");
    expect(delta(5, 0)).toBeNull();
    expect(delta(60, 2)).toBe("×30");
    expect(delta(20_000, 2)).toBeNull();
  });
  it("says of a moment in a list what is not plain", () => {
    const now = "2026-11-21T23:30:00Z";
    expect(moment("2026-11-21T22:59:59Z", "UTC", now)).toBe("22:59:59");
    expect(moment("2026-11-21T22:59:59Z", "Europe/Berlin", now)).toBe("21 Nov, 23:59:59");
    expect(moment("2026-09-01T00:00:00Z", "UTC", now)).toBe("01 Sept, 00:00:00");
    expect(moment("2025-12-31T23:59:59Z", "UTC", now)).toBe("31 Dec 2025, 23:59:59");
  });
});
