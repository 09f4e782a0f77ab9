import { expect, test } from "vitest";
import { readable } from "./readable";

test("JSON is set out, and says the same", () => {
  const body = '{"a":[1,{"b":"x, {y}: \\"z\\\\"}],"empty":[ ],"none":{},"long":12345678901234567890,"e":1.50}';
  expect(readable(body)).toBe('{\n  "a": [\n    1,\n    {\n      "b": "x, {y}: \\"z\\\\"\n    }\n  ],\n  "empty": [],\n  "none": {},\n  "long": 12345678901234567890,\n  "e": 1.50\n}');
  expect(JSON.parse(readable(body))).toEqual(JSON.parse(body));
});

test("what is no JSON, or only a part of some, stays as it stands", () => {
  for (const body of ["data: {}\n\n", '{"cut": "of', "", "plain text"]) expect(readable(body)).toBe(body);
});
