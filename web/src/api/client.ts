import type { Problem } from "./types";

/** A refusal of the server, in its own words. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
  }
  /** An error of any kind, as one that can be shown. */
  static from(error: unknown): ApiError {
    if (error instanceof ApiError) return error;
    return new ApiError({ type: "about:blank", title: "Something went wrong", status: 0, detail: error instanceof Error ? error.message : String(error) });
  }
  /** The last part of the problem's type, such as `reauthentication_required`. */
  get code(): string {
    return this.problem.type.split(/[/:]/).pop() ?? "";
  }
  /** What the server says of one field. */
  of(field: string): string | undefined {
    return this.problem.errors?.find((fault) => fault.field === field)?.message;
  }
}

let organization: string | null = null;
let prove: (() => Promise<boolean>) | null = null;

/** Name the organization that all further requests work for. */
export function workFor(slug: string | null): void {
  organization = slug;
}

/** Say how a person proves again who they are, when the server wants that before a sensitive change. */
export function proveWith(ask: (() => Promise<boolean>) | null): void {
  prove = ask;
}

async function problemOf(answer: Response): Promise<Problem> {
  try {
    return (await answer.json()) as Problem;
  } catch {
    const request_id = answer.headers.get("x-request-id") ?? undefined;
    return { type: "about:blank", title: answer.statusText, status: answer.status, detail: `The server answered ${answer.status}.`, request_id };
  }
}

async function ask(path: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
  const headers = new Headers(init.headers);
  if (organization) headers.set("x-nexus-organization", organization);
  if (init.body) headers.set("content-type", "application/json");
  try {
    return await fetch(path, { ...init, headers, signal, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError({ type: "about:blank", title: "No connection", status: 0, detail: "Nexus does not answer. Is it running?" });
  }
}

export async function request<T>(path: string, init: RequestInit = {}, signal?: AbortSignal): Promise<T> {
  let answer = await ask(path, init, signal);
  if (!answer.ok) {
    const error = new ApiError(await problemOf(answer));
    if (error.code !== "reauthentication_required" || !prove || !(await prove())) throw error;
    answer = await ask(path, init, signal);
    if (!answer.ok) throw new ApiError(await problemOf(answer));
  }
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

/** A path with a query; what is empty is left out. */
export function pathOf(path: string, query: Record<string, string | undefined>): string {
  const pairs = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== "");
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

/** A download link; a browser sends no header with it, so it names the organization itself. */
export const linkOf = (path: string, query: Record<string, string | undefined>): string => pathOf(path, { ...query, organization: organization ?? undefined });

export const read = <T>(path: string, query: Record<string, string | undefined> = {}, signal?: AbortSignal) => request<T>(pathOf(path, query), {}, signal);

const withBody = (method: string) => <T>(path: string, body?: unknown) =>
  request<T>(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
export const send = withBody("POST");
export const amend = withBody("PATCH");
export const remove = withBody("DELETE");
export const put = withBody("PUT");
