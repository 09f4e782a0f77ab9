import { describe, expect, it } from "vitest";
import { amountOf, inWords } from "./inWords";

describe("limits in words", () => {
  it("says rates, bursts, windows, calls in flight and what is kept back", () => {
    expect(inWords({ name: "iops", dimension: "operations", rate: "100", burst: "150", burst_seconds: 60, reserve: "20" })).toBe("100 operations a second, bursts of 150 for 60\u202fs, 20 kept for privileged calls");
    expect(inWords({ name: "t", dimension: "tokens", rate: "60000", per: "minute", capacity: "120000" })).toBe("60\u202f000 model tokens a minute, holds 120\u202f000");
    expect(inWords({ name: "m", dimension: "money", method: "fixed_window", amount: "250.5", currency: "USD", period: "month", zone: "Europe/Zurich" })).toBe("$250.50 a month, in Europe/Zurich");
    expect(inWords({ name: "c", dimension: "concurrency", method: "concurrency", amount: "8" })).toBe("8 calls at once");
    expect(inWords({ name: "l", dimension: "requests", method: "leaky_bucket", rate: "5" })).toBe("5 requests a second, spaced out");
  });
  it("rounds no amount", () => {
    expect(amountOf("5000000", { dimension: "bytes" })).toBe("5\u202fMB");
    expect(amountOf("5000001", { dimension: "bytes" })).toBe("5\u202f000\u202f001 bytes");
    expect(amountOf("0.0001", { dimension: "operations" })).toBe("0.0001 operations");
  });
});
