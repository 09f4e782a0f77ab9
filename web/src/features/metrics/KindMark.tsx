import { Badge } from "@mantine/core";
import { words } from "./words";

/** What kind of metric it is. */
export const KindMark = ({ kind }: { kind: string }) => <Badge size="sm" variant="default" tt="none" fw={500} miw="max-content">{words.kinds[kind] ?? kind}</Badge>;
