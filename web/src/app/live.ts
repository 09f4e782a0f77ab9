import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

const PAUSE_MS = 1000;

/** Read the figures again when calls were stored; tells whether the connection holds. A hidden tab catches up when shown. */
export function useLive(isOn: boolean, organization: string | null): "live" | "lost" | "off" {
  const client = useQueryClient();
  const [state, setState] = useState<"live" | "lost" | "off">("off");
  useEffect(() => {
    if (!isOn || !organization) {
      setState("off");
      return;
    }
    const source = new EventSource(`/api/live?organization=${encodeURIComponent(organization)}`);
    let due: number | undefined;
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
    source.addEventListener("calls", note);
    source.onopen = () => {
      setState("live");
      note();
    };
    source.onerror = () => setState("lost");
    document.addEventListener("visibilitychange", shown);
    return () => {
      source.close();
      window.clearTimeout(due);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [isOn, organization, client]);
  return state;
}
