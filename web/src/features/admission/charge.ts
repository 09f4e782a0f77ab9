import type { OperationCharge } from "../../api/admission";
import { count } from "../../app/format";
import { operationText as words } from "./operationText";

/** How a charge is made, with its numbers: 1 + 8 192 ÷ 4 096 × 0.0001 = 1.0002 operations. */
export function formulaOf(charge: OperationCharge): string {
  const size = count(charge.bytes), quantum = count(charge.unit_quantum);
  if (!charge.whole_quanta) return words.exact(charge.c_base, size, quantum, charge.c_bw, charge.operations);
  return words.whole(charge.c_base, count(Math.ceil(charge.bytes / charge.unit_quantum)), size, quantum, charge.c_bw, charge.operations);
}
