// One palette for both themes that survives colour blindness (Okabe and Ito, 2008); a name keeps its colour on every page.
const COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8f7ee7", "#b3a125"];
export const OTHER = "#8a8f98";

const taken = new Map<string, string>();

export function colorOf(name: string): string {
  if (name === "other") return OTHER;
  const known = taken.get(name);
  if (known) return known;
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  const used = new Set(taken.values());
  // Its own colour where that is free, whatever was seen before; else the next one.
  const color = COLORS.map((_, step) => COLORS[(hash + step) % COLORS.length] as string).find((one) => !used.has(one));
  // Beyond eight names a colour tells nothing any more.
  if (!color) return OTHER;
  taken.set(name, color);
  return color;
}
