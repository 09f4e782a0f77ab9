import { expect, it } from "vitest";
import type { ActiveLimit, TokenUsage } from "../../api/admission";
import { allowedAnHour, hoursOf, isShare } from "./hours";

const limitWith = (given: Partial<ActiveLimit>) => ({ rate_per_second: null, period: null, capacity: 240, ...given }) as ActiveLimit;

it("lays the last day out by hour, with nothing where nothing was taken", () => {
  const now = Date.parse("2026-03-04T10:20:00Z");
  const { times, taken } = hoursOf([{ begins: "2026-03-04T10:00:00Z", consumed: 7 }, { begins: "2026-03-03T11:00:00+00:00", consumed: 3 }, { begins: "2026-03-03T10:00:00Z", consumed: 9 }] as TokenUsage[], now);
  expect([times.length, times.at(-1)]).toEqual([24, Date.parse("2026-03-04T10:00:00Z")]);
  expect([taken[0], taken.at(-1), taken.reduce((sum, item) => sum + item)]).toEqual([3, 7, 10]);
});

it("tells what a limit allows in an hour", () => {
  expect(allowedAnHour(limitWith({ rate_per_second: 2 }))).toBe(7200);
  expect(allowedAnHour(limitWith({ period: "hour" }))).toBe(240);
  expect(allowedAnHour(limitWith({ period: "minute" }))).toBe(14_400);
  expect(allowedAnHour(limitWith({ period: "day" }))).toBe(10);
  expect(allowedAnHour(limitWith({}))).toBeNull();
  expect([isShare(limitWith({ period: "day" })), isShare(limitWith({ period: "hour" })), isShare(limitWith({ rate_per_second: 1 }))]).toEqual([true, false, false]);
});
