import { useRef, useState, type FormEvent } from "react";
import { ApiError } from "../api/client";

/** What came of an attempt: `run` does one thing at a time, so that a second press on a slow line makes no second key. */
export interface Attempt { run: (act: () => Promise<unknown>) => Promise<boolean>; busy: boolean; fault: ApiError | null; forget: () => void }

/** Runs what a person asks for; while it runs another press does nothing, and a refusal is kept to be shown. */
export function useAttempt(): Attempt {
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<ApiError | null>(null);
  const running = useRef(false);
  const run = async (act: () => Promise<unknown>) => {
    if (running.current) return false;
    running.current = true;
    setBusy(true);
    setFault(null);
    try {
      await act();
      return true;
    } catch (error) {
      setFault(ApiError.from(error));
      return false;
    } finally {
      running.current = false;
      setBusy(false);
    }
  };
  return { run, busy, fault, forget: () => setFault(null) };
}

/** A form's answer to being sent. */
export function onSubmit(event: FormEvent, attempt: Attempt, act: () => Promise<unknown>): void {
  event.preventDefault();
  void attempt.run(act);
}
