import { expect, test } from "vitest";
import type { ModelRoute } from "../../api/types";
import { curlOf, pythonOf, waysOf } from "./ways";

const route = (alias: string, model: string, priority: number, weight = 1): ModelRoute => ({ id: model, alias, provider: "p", model, priority, weight, created_at: "" });

test("ways stand in the order in which they are tried, with their share among equals", () => {
  const ways = waysOf([route("b", "x", 0), route("a", "late", 5), route("a", "small", 0, 1), route("a", "large", 0, 3)]);

  expect([...ways.keys()]).toEqual(["a", "b"]);
  expect(ways.get("a")?.map(({ route: { model }, place, share }) => [model, place, share])).toEqual([["large", 0, 0.75], ["small", 0, 0.25], ["late", 1, 1]]);
});

test("what is off has no share and is no step", () => {
  const ways = waysOf([route("a", "off", 0, 0), route("a", "on", 1)]).get("a");

  expect(ways?.map(({ place, share }) => [place, share])).toEqual([[0, null], [0, 1]]);
});

test("snippets survive quotes", () => {
  expect(curlOf("http://n", "fast", "it's")).toContain(`"it'\\''s"`);
  expect(pythonOf("http://n", "fast", `say "hi"`)).toContain(`"say \\"hi\\""`);
});
