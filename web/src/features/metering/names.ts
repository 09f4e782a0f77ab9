import { useQuery } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import { useScene } from "../../app/context";
import { DIMENSIONS, filtersOf } from "../../app/range";
import { dimensionName, text } from "../../app/text";
import { keysOf, tagsOf } from "./queries";

/** How a value of a dimension is called; keys by their names where one may see them. */
export function useNames(): (dimension: string, value: unknown) => string {
  const { organization, may } = useScene();
  const keys = useQuery(keysOf(organization, may("key:read")));
  const known = keys.data;
  return useCallback((dimension, value) => {
    const plain = plainOf(value);
    if (plain === "") return text.unsaid;
    return dimension === "key" ? (known?.get(plain) ?? plain) : plain;
  }, [known]);
}

/** The value of a dimension as the address carries it; nothing where it is not said. */
export const plainOf = (value: unknown): string => (typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "");

/** The filters of the view; the same object while they say the same. */
export function useFilters(): Record<string, string> {
  const { view } = useScene();
  const said = JSON.stringify(filtersOf(view));
  return useMemo(() => JSON.parse(said) as Record<string, string>, [said]);
}

/** The dimensions that can be chosen here: the fixed ones and the tags that calls carry. */
export function useDimensions(kept: string | undefined): { value: string; label: string }[] {
  const { organization, span } = useScene();
  const tags = useQuery(tagsOf(organization, span));
  const names = [...DIMENSIONS, ...(tags.data ?? []).map((name) => `tag:${name}`)];
  return [...new Set([...names, ...(kept ? [kept] : [])])].map((value) => ({ value, label: dimensionName(value) }));
}
