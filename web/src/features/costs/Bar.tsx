import { Badge } from "@mantine/core";
import { percent } from "../../app/format";
import type { Budget, Standing } from "./types";
import { words } from "./words";

const COLORS: Record<string, string> = { within: "teal", warned: "yellow", over: "red", paused: "red", inactive: "gray" };

export function StateBadge({ state }: { state: string }) {
  return <Badge size="sm" variant="dot" tt="none" color={COLORS[state] ?? "gray"} data-state={state}>{words.states[state] ?? state}</Badge>;
}

/** What is spent and held of a budget, with its thresholds as marks; what is over goes to the bar's end and is said beside it. */
export function Bar({ budget, standing }: { budget: Budget; standing: Standing }) {
  const amount = Number(budget.amount);
  const spent = Math.min(1, standing.fraction);
  const held = Math.min(1 - spent, Number(standing.held ?? 0) / amount);
  const tone = standing.state === "over" || standing.state === "paused" ? "var(--bad)" : standing.state === "warned" ? "var(--mantine-color-yellow-6)" : "var(--mantine-color-blue-6)";
  return (
    <div className="budget-bar" role="img" aria-label={`${words.spent} ${percent(standing.fraction)}${held > 0 ? `, ${words.held} ${percent(held)}` : ""}`}>
      <span style={{ left: 0, width: `${spent * 100}%`, background: tone }} />
      {held > 0 && <span style={{ left: `${spent * 100}%`, width: `${held * 100}%`, background: tone, opacity: 0.45 }} />}
      {budget.thresholds.filter((share) => share < 1).map((share) => <i key={share} style={{ left: `${share * 100}%` }} />)}
    </div>
  );
}
