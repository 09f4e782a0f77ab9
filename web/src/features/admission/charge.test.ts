import { expect, it } from "vitest";
import { formulaOf } from "./charge";

it("shows the formula with its numbers, and begun quanta where they are charged whole", () => {
  const charge = { operations: "1.0002", micro_operations: 1_000_200, bytes: 8192, c_base: "1.0", unit_quantum: 4096, c_bw: "0.0001", whole_quanta: false };
  expect(formulaOf(charge)).toBe("1.0 + 8\u202f192 ÷ 4\u202f096 × 0.0001 = 1.0002 operations");
  expect(formulaOf({ ...charge, bytes: 8193, operations: "1.0003", whole_quanta: true })).toBe("1.0 + 3 begun quanta (8\u202f193 ÷ 4\u202f096, rounded up) × 0.0001 = 1.0003 operations");
});
