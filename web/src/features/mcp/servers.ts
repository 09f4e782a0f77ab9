import { queryOptions } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { Page } from "../../api/types";

export interface McpServer {
  id: string; name: string; description: string; transport: "streamable_http" | "stdio"; url: string | null; command: string[] | null; auth_form: string; prefix: string; variables: string[];
  timeout_seconds: number; price: string | null; tool_prices: Record<string, string>; is_enabled: boolean; created_at: string; updated_at: string;
}
export interface Check { is_ok: boolean; error: string; revision: string; tools: string[]; duration_ms: number }

export const serversOf = (organization: string) =>
  queryOptions({ queryKey: ["mcp-servers", organization], queryFn: ({ signal }) => read<Page<McpServer>>("/api/mcp/gateway-servers", { limit: "500" }, signal) });

/** Lines of `name=value` as an object; null where a line is something else. */
export function pairsOf(lines: string): Record<string, string> | null {
  const found: Record<string, string> = {};
  for (const line of lines.split("\n")) {
    if (!line.trim()) continue;
    const place = line.indexOf("=");
    if (place < 1) return null;
    found[line.slice(0, place).trim()] = line.slice(place + 1).trim();
  }
  return found;
}

export const linesOf = (pairs: Record<string, string>): string => Object.entries(pairs).map(([name, value]) => `${name}=${value}`).join("\n");
