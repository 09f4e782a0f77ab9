import type { Dimension } from "../../api/admission";
import { compact, count } from "../../app/format";
import { limitText as words } from "./limitText";

/** How many of a bucket's units make one of what people count in. */
export const perOne = (dimension: Dimension, scale: number): number => (dimension === "operations" ? 1e6 : dimension === "money" ? 1e9 / scale : 1);

/** An amount of a bucket as people count: operations and money with their decimals, large counts in three digits. */
export function unitsOf(units: number, dimension: Dimension, scale: number, withUnit = true): string {
  const value = units / perOne(dimension, scale);
  const sign = value < 0 ? "−" : "", size = Math.abs(value);
  const shown = size >= 100_000 ? compact(size) : Number.isInteger(size) ? count(size) : size >= 100 ? count(size) : Number(size.toPrecision(4)).toString();
  const unit = words.units[dimension];
  return `${sign}${shown}${withUnit && unit ? ` ${unit}` : ""}`;
}
