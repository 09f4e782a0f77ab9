import { useQuery } from "@tanstack/react-query";
import { useScene } from "../../app/context";
import { DIMENSIONS } from "../../app/range";
import { dimensionName, text } from "../../app/text";
import { keysOf, tagsOf } from "./queries";

/** How a value of a dimension is called; keys by their names where one may see them. */
export function useNames(): (dimension: string, value: unknown) => string {
  const { organization, may } = useScene();
  const keys = useQuery(keysOf(organization, may("key:read")));
  return (dimension, value) => {
    if (value === null || value === undefined || value === "") return text.unsaid;
    return dimension === "key" ? (keys.data?.get(String(value)) ?? String(value)) : String(value);
  };
}

/** The dimensions that can be chosen here: the fixed ones and the tags that calls carry. */
export function useDimensions(kept: string | undefined): { value: string; label: string }[] {
  const { organization, span } = useScene();
  const tags = useQuery(tagsOf(organization, span));
  const names = [...DIMENSIONS, ...(tags.data ?? []).map((name) => `tag:${name}`)];
  return [...new Set([...names, ...(kept ? [kept] : [])])].map((value) => ({ value, label: dimensionName(value) }));
}
