import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

const PAUSE_MS = 1000;
const AGAIN_MS = 2000;

/** Read the figures again when calls were stored; tells whether the connection holds. A hidden tab catches up when shown. */
export function useLive(isOn: boolean, organization: string | null): "live" | "lost" | "off" {
  const client = useQueryClient();
  const [isOpen, setOpen] = useState<boolean | null>(null);
  useEffect(() => {
    if (!isOn || !organization) return;
    let source: EventSource | undefined;
    let due: number | undefined;
    let again: number | undefined;
    let missed = false;
    const refresh = () => {
      due = undefined;
      void client.invalidateQueries({ queryKey: ["metering"] });
    };
    const note = () => {
      if (document.hidden) missed = true;
      else due ??= window.setTimeout(refresh, PAUSE_MS);
    };
    const shown = () => {
      if (!document.hidden && missed) {
        missed = false;
        refresh();
      }
    };
    const connect = () => {
      const made = new EventSource(`/api/live?organization=${encodeURIComponent(organization)}`);
      source = made;
      made.addEventListener("calls", note);
      made.onopen = () => {
        setOpen(true);
        note();
      };
      made.onerror = () => {
        setOpen(false);
        // The browser itself comes back after a broken line, but gives up for good when it was answered with a refusal.
        if (made.readyState === EventSource.CLOSED) again = window.setTimeout(connect, AGAIN_MS);
      };
    };
    connect();
    document.addEventListener("visibilitychange", shown);
    return () => {
      source?.close();
      window.clearTimeout(due);
      window.clearTimeout(again);
      setOpen(null);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [isOn, organization, client]);
  return isOpen === null || !isOn ? "off" : isOpen ? "live" : "lost";
}
