import { expect, test } from "vitest";
import { countdown, decimalOf, unitsOf } from "./loanUnits";

const tokens = { dimension: "tokens", currency: "", scale: 1 } as const;
const operations = { dimension: "operations", currency: "", scale: 1 } as const;
const money = { dimension: "money", currency: "USD", scale: 1000 } as const;

test("amounts are written and read exactly", () => {
  expect(decimalOf(2_500_000, operations)).toBe("2.5");
  expect(decimalOf(-1, operations)).toBe("-0.000001");
  expect(decimalOf(40, tokens)).toBe("40");
  expect(unitsOf("2.5", operations)).toBe(2_500_000);
  expect(unitsOf("0,1", money)).toBe(100_000);
});

test("what is no amount of them is none", () => {
  for (const written of ["", "0", "-1", "1.5", "x", "99999999999999999"]) expect(unitsOf(written, tokens)).toBeNull();
  expect(unitsOf("0.0000001", operations)).toBeNull();
});

test("a clock runs down", () => {
  expect([countdown(3725), countdown(61), countdown(-3)]).toEqual(["1 h 2 min", "1 min 1 s", "0 s"]);
});
