// How aliases lead to models, as the gateway goes by it. Pure.
import type { ModelRoute } from "../../api/types";

/** A way with its place: 0 is tried first; its share of the calls among those of equal priority, null when it is off. */
export interface Way { route: ModelRoute; place: number; share: number | null }

/** The ways of each alias in the order in which they are tried. */
export function waysOf(routes: ModelRoute[]): Map<string, Way[]> {
  const found = new Map<string, Way[]>();
  const sorted = [...routes].sort((a, b) => a.alias.localeCompare(b.alias) || a.priority - b.priority || b.weight - a.weight || a.id.localeCompare(b.id));
  for (const route of sorted) {
    const ways = found.get(route.alias) ?? [];
    const equals = routes.filter((other) => other.alias === route.alias && other.priority === route.priority);
    const sum = equals.reduce((total, other) => total + other.weight, 0);
    // What is off is no step: the next priority takes its place.
    const before = new Set(routes.filter((other) => other.alias === route.alias && other.priority < route.priority && other.weight > 0).map((other) => other.priority));
    ways.push({ route, place: before.size, share: route.weight > 0 ? route.weight / sum : null });
    found.set(route.alias, ways);
  }
  return found;
}

/** A text as one word of a shell. */
export const quoted = (value: string): string => `'${value.replaceAll("'", "'\\''")}'`;

/** The request that tries a model: OpenAI's format, as small as can be. */
export const chatOf = (model: string, message: string) => ({ model, messages: [{ role: "user", content: message }] });

export const curlOf = (url: string, model: string, message: string): string => `curl ${url}/gw/v1/chat/completions \\
  -H "Authorization: Bearer $NEXUS_ACCESS_KEY" -H "Content-Type: application/json" \\
  -d ${quoted(JSON.stringify(chatOf(model, message)))}`;

export const pythonOf = (url: string, model: string, message: string): string => `import os
from openai import OpenAI

client = OpenAI(base_url="${url}/gw/v1", api_key=os.environ["NEXUS_ACCESS_KEY"])
answer = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=[{"role": "user", "content": ${JSON.stringify(message)}}],
)
print(answer.choices[0].message.content)`;
