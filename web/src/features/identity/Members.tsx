import { Badge, Button, Group, Modal, NativeSelect, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type MouseEvent } from "react";
import { amend, read, remove, send } from "../../api/client";
import type { Invitation, Member, Page, Role } from "../../api/types";
import { onSubmit, useAttempt } from "../../app/attempt";
import { useScene } from "../../app/context";
import { instant } from "../../app/format";
import { Confirm, Heading, List, Once, Panel } from "../../app/parts";
import { Problem } from "../../app/Problem";
import { instantOf, rfc } from "../../app/range";
import { text } from "../../app/text";

const MEMBERSHIPS = ["owner", "admin", "member", "viewer"];

/** Who may do what here: members with their roles, invitations that are out, and what each role holds. */
export function Members() {
  const { organization, zone, may, account, go } = useScene();
  const client = useQueryClient();
  const [isInviting, setInviting] = useState(false);
  const [link, setLink] = useState<{ title: string; lead: string; url: string } | null>(null);
  const [removed, setRemoved] = useState<Member | null>(null);
  const [granted, setGranted] = useState<Member | null>(null);
  const [withdrawn, setWithdrawn] = useState<Invitation | null>(null);
  const [fault, setFault] = useState<unknown>(null);
  const members = useQuery({ queryKey: ["members", organization], queryFn: () => read<Page<Member>>("/api/identity/members") });
  const invitations = useQuery({ queryKey: ["members", organization, "invitations"], enabled: may("member:manage"), queryFn: () => read<Page<Invitation>>("/api/identity/invitations") });
  const roles = useQuery({ queryKey: ["roles", organization], enabled: may("role:read"), queryFn: () => read<Page<Role>>("/api/identity/roles") });
  const again = () => void client.invalidateQueries({ queryKey: ["members"] });
  const attempt = async (act: () => Promise<unknown>) => {
    setFault(null);
    try {
      await act();
    } catch (error) {
      setFault(error);
    }
    again();
  };
  if (members.isError) return <Stack gap="sm"><Heading title={text.members} /><Problem error={members.error} retry={() => void members.refetch()} /></Stack>;
  const waiting = (invitations.data?.items ?? []).filter((item) => !item.accepted_at);
  return (
    <Stack gap="sm">
      <Heading title={text.members}>{may("member:manage") && <Button size="xs" onClick={() => setInviting(true)}>{text.invite}</Button>}</Heading>
      {fault !== null && <Problem error={fault} retry={() => setFault(null)} />}
      <Panel>
        <List name={text.members} minWidth={860} isLoading={members.isPending} columns={[text.name, text.role, text.grants, text.secondFactor, text.lastSeen, ""]}>
          {members.data?.items.map((member) => {
            const isSelf = member.user_id === account.user?.id;
            return (
              <Table.Tr key={member.user_id}>
                <Table.Td>{member.name || member.email}{member.name && <Text size="xs" c="dimmed">{member.email}</Text>}</Table.Td>
                <Table.Td>
                  {may("member:manage") && !isSelf ? (
                    <NativeSelect size="xs" w={110} aria-label={`${text.role}: ${member.email}`} value={member.role} data={MEMBERSHIPS}
                      onChange={(event) => { const role = event.currentTarget.value; void attempt(() => amend(`/api/identity/members/${member.user_id}`, { role })); }} />
                  ) : member.role}
                </Table.Td>
                <Table.Td>
                  <Group gap={4}>
                    {member.roles.map((role) => <Badge key={role.role_id} size="sm" variant="default" tt="none">{role.name}{role.expires_at ? ` – ${instant(role.expires_at, zone)}` : ""}</Badge>)}
                    {may("role:manage") && <Button size="compact-xs" variant="default" aria-label={`${text.grantTitle}: ${member.email}`} onClick={() => setGranted(member)}>+</Button>}
                  </Group>
                </Table.Td>
                <Table.Td>{member.has_second_factor ? text.on : text.off}</Table.Td>
                <Table.Td>{member.last_login_at ? instant(member.last_login_at, zone) : text.never}</Table.Td>
                <Table.Td>
                  <Group gap={6} wrap="nowrap" justify="flex-end">
                    {may("audit:read") && <Button component="a" size="compact-xs" variant="default" href={`/audit?who=${member.user_id}`} aria-label={`${text.audit}: ${member.email}`}
                      onClick={(event: MouseEvent) => { event.preventDefault(); go({ who: member.user_id }, "/audit"); }}>{text.audit}</Button>}
                    {may("user:update") && !isSelf && <Button size="compact-xs" variant="default" aria-label={`${text.resetPassword}: ${member.email}`}
                      onClick={() => void attempt(async () => { const made = await send<{ url: string }>(`/api/identity/members/${member.user_id}/password-reset`); setLink({ title: text.resetPassword, lead: text.resetLead, url: made.url }); })}>{text.resetPassword}</Button>}
                    {may("member:manage") && !isSelf && <Button size="compact-xs" variant="default" className="bad" aria-label={`${text.removeMember} ${member.email}`} onClick={() => setRemoved(member)}>{text.removeMember}</Button>}
                  </Group>
                </Table.Td>
              </Table.Tr>
            );
          })}
        </List>
      </Panel>
      {waiting.length > 0 && (
        <Panel title={text.pending}>
          <List name={text.pending} minWidth={480} columns={[text.email, text.role, text.expires, ""]}>
            {waiting.map((item) => (
              <Table.Tr key={item.id}>
                <Table.Td>{item.email}</Table.Td><Table.Td>{item.role}</Table.Td><Table.Td>{instant(item.expires_at, zone)}</Table.Td>
                <Table.Td className="right"><Button size="compact-xs" variant="default" aria-label={`${text.withdraw} ${item.email}`} onClick={() => setWithdrawn(item)}>{text.withdraw}</Button></Table.Td>
              </Table.Tr>
            ))}
          </List>
        </Panel>
      )}
      {may("role:read") && (
        <Panel title={text.roles}>
          <List name={text.roles} minWidth={560} isLoading={roles.isPending} columns={[text.role, text.permissions]}>
            {roles.data?.items.map((role) => (
              <Table.Tr key={role.id}>
                <Table.Td style={{ whiteSpace: "nowrap", verticalAlign: "top" }}>{role.name}<Text size="xs" c="dimmed">{role.is_builtin ? text.builtIn : role.description}</Text></Table.Td>
                <Table.Td><Text size="xs">{role.permissions.join(", ")}</Text></Table.Td>
              </Table.Tr>
            ))}
          </List>
        </Panel>
      )}
      {isInviting && <Invite onClose={() => setInviting(false)} onMade={(url) => { setInviting(false); again(); setLink({ title: text.inviteLink, lead: text.inviteLead, url }); }} />}
      {granted && <Grant member={granted} roles={roles.data?.items ?? []} onClose={() => setGranted(null)} onDone={() => { setGranted(null); again(); }} />}
      <Confirm opened={removed !== null} title={text.removeMember} name={removed?.email} lead={text.removeLead(removed?.email ?? "")} onClose={() => setRemoved(null)} onDone={again} act={() => remove(`/api/identity/members/${removed?.user_id}`)} />
      <Confirm opened={withdrawn !== null} title={text.withdraw} lead={withdrawn?.email ?? ""} onClose={() => setWithdrawn(null)} onDone={again} act={() => remove(`/api/identity/invitations/${withdrawn?.id}`)} />
      <Once title={link?.title ?? ""} lead={link?.lead ?? ""} value={link?.url ?? null} onClose={() => setLink(null)} />
    </Stack>
  );
}

function Invite({ onClose, onMade }: { onClose: () => void; onMade: (url: string) => void }) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<string | null>("member");
  const attempt = useAttempt();
  const { fault } = attempt;
  const submit = async () => onMade((await send<{ url: string }>("/api/identity/invitations", { email, role })).url);
  return (
    <Modal opened onClose={onClose} title={text.invite} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <TextInput autoFocus data-autofocus label={text.email} type="email" required value={email} error={fault ? (fault.of("email") ?? fault.message) : undefined} onChange={(event) => setEmail(event.currentTarget.value)} />
          <Select label={text.role} allowDeselect={false} value={role} onChange={setRole} data={MEMBERSHIPS} comboboxProps={{ withinPortal: false }} />
          <Text size="sm" c="dimmed">{text.inviteLead}</Text>
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.invite}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Grant({ member, roles, onClose, onDone }: { member: Member; roles: Role[]; onClose: () => void; onDone: () => void }) {
  const { zone } = useScene();
  const [role, setRole] = useState<string | null>(null);
  const [until, setUntil] = useState("");
  const attempt = useAttempt();
  const submit = async () => {
    await send(`/api/identity/members/${member.user_id}/roles`, { role_id: role, ...(until ? { expires_at: rfc(instantOf(until, zone)) } : {}) });
    onDone();
  };
  return (
    <Modal opened onClose={onClose} title={`${text.grantTitle}: ${member.email}`} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <Select autoFocus data-autofocus label={text.role} required value={role} onChange={setRole} searchable comboboxProps={{ withinPortal: false }} data={roles.map((item) => ({ value: item.id, label: item.name }))} />
          <TextInput type="datetime-local" label={`${text.until} (${zone})`} value={until} onChange={(event) => setUntil(event.currentTarget.value)} />
          {attempt.fault && <Text size="sm" className="bad" role="alert">{attempt.fault.message}</Text>}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>{text.cancel}</Button><Button type="submit" loading={attempt.busy} disabled={!role}>{text.grant}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
