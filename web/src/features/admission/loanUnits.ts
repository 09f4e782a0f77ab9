import type { Dimension } from "../../api/admission";
import { amountOf } from "./inWords";

/** What units are counted by; the name of what money is in with it. */
export interface Measure { dimension: Dimension; currency: string; scale: number }

const placesOf = ({ dimension, scale }: Measure): number => (dimension === "operations" ? 6 : dimension === "money" ? (scale === 1 ? 9 : 6) : 0);

/** An amount of a bucket as people write it, exactly. */
export function decimalOf(units: number, measure: Measure): string {
  const places = placesOf(measure);
  if (places === 0) return String(units);
  const digits = String(Math.abs(units)).padStart(places + 1, "0");
  const fraction = digits.slice(-places).replace(/0+$/, "");
  return `${units < 0 ? "-" : ""}${digits.slice(0, -places)}${fraction ? `.${fraction}` : ""}`;
}

/** What a person wrote, in a bucket's units; null where it is no amount of them above nothing. */
export function unitsOf(written: string, measure: Measure): number | null {
  const found = /^(\d{1,16})(?:[.,](\d+))?$/.exec(written.trim());
  const fraction = found?.[2] ?? "";
  const places = placesOf(measure);
  if (!found || fraction.length > places) return null;
  const units = Number((found[1] ?? "") + fraction.padEnd(places, "0"));
  return units > 0 && Number.isSafeInteger(units) ? units : null;
}

/** An amount of a bucket in words: 40 model tokens, 2.5 operations, $0.10. */
export const shown = (units: number, measure: Measure): string => amountOf(decimalOf(units, measure), measure);

/** Seconds as a clock that runs down shows them. */
export function countdown(seconds: number): string {
  const left = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(left / 3600), Math.floor((left % 3600) / 60), left % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}
