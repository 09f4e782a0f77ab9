import { expect, test } from "vitest";
import { linesOf, pairsOf } from "./servers";

test("lines are read as pairs, whatever a value holds, and written back", () => {
  expect(pairsOf("A=1\n\n B = x=y \n")).toEqual({ A: "1", B: "x=y" });
  expect(pairsOf("")).toEqual({});
  expect(pairsOf(linesOf({ A: "1", B: "x=y" }))).toEqual({ A: "1", B: "x=y" });
});

test("a line without a name is no pair", () => {
  expect(pairsOf("A=1\nB")).toBeNull();
  expect(pairsOf("=1")).toBeNull();
});
