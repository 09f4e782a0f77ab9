import { Alert, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { read } from "../api/client";
import type { AdmissionStanding } from "../api/types";
import { awayText } from "./awayText";

const EVERY_MS = 15_000;
const EVERY_WHILE_AWAY_MS = 3_000;

/** Says what holds while limits are decided without Redis, and goes by itself. Nothing is drawn while all is well. */
export function LimitsAway({ organization }: { organization: string }) {
  const query = useQuery({
    queryKey: ["admission", "standing", organization],
    queryFn: ({ signal }) => read<AdmissionStanding>("/api/admission/standing", {}, signal),
    refetchInterval: ({ state }) => (state.data?.is_degraded ? EVERY_WHILE_AWAY_MS : EVERY_MS),
    retry: false,
  });
  const standing = query.data;
  if (!standing?.is_degraded) return null;
  const said = (["closed", "local", "open"] as const).filter((policy) => standing[policy] > 0).map((policy) => awayText[policy](standing[policy]));
  return (
    <Alert color="orange" variant="light" role="status" mb="md">
      <Text size="sm" fw={700}>{awayText.title}</Text>
      <Text size="sm">{said.length ? `${said.join("; ")}. ${awayText.after}` : awayText.none}</Text>
    </Alert>
  );
}
