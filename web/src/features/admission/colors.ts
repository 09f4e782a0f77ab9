/** The ink of how a bucket stands. */
export const COLORS = { healthy: "teal", warning: "yellow", critical: "red" } as const;
