import { Badge } from "@mantine/core";
import type { Status } from "./types";
import { words } from "./words";

const OF_STATUS: Record<Status, string> = { open: "blue", regressed: "red", resolved: "teal", ignored: "gray" };
const OF_LEVEL: Record<string, string> = { fatal: "red", error: "orange", warn: "yellow" };

export const StatusMark = ({ status }: { status: Status }) => <Badge size="sm" variant="outline" color={OF_STATUS[status]} className={`mark-${status}`} data-status>{words.status[status]}</Badge>;

/** The level in words; the dot's colour only repeats it. */
export const LevelMark = ({ level }: { level: string }) => <Badge size="sm" variant="dot" color={OF_LEVEL[level] ?? "gray"}>{level}</Badge>;
