import type { Problem } from "./types";

/** A refusal of the server, in its own words. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
  }
}

let organization: string | null = null;

/** Name the organization that all further requests work for. */
export function workFor(slug: string | null): void {
  organization = slug;
}

async function problemOf(answer: Response): Promise<Problem> {
  try {
    return (await answer.json()) as Problem;
  } catch {
    const request_id = answer.headers.get("x-request-id") ?? undefined;
    return { type: "about:blank", title: answer.statusText, status: answer.status, detail: `The server answered ${answer.status}.`, request_id };
  }
}

export async function request<T>(path: string, init: RequestInit = {}, signal?: AbortSignal): Promise<T> {
  const headers = new Headers(init.headers);
  if (organization) headers.set("x-nexus-organization", organization);
  if (init.body) headers.set("content-type", "application/json");
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers, signal, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError({ type: "about:blank", title: "No connection", status: 0, detail: "Nexus does not answer. Is it running?" });
  }
  if (!answer.ok) throw new ApiError(await problemOf(answer));
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export const read = <T>(path: string, query: Record<string, string | undefined>, signal?: AbortSignal) => {
  const pairs = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== "");
  return request<T>(pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path, {}, signal);
};

export const send = <T>(path: string, body?: unknown) =>
  request<T>(path, { method: "POST", body: body === undefined ? undefined : JSON.stringify(body) });
