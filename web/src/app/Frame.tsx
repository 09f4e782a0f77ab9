import {
  ActionIcon, AppShell, Badge, Burger, Group, Kbd, Menu, Modal, NavLink, Select, Stack, Text, TextInput, Tooltip, UnstyledButton, useMantineColorScheme,
} from "@mantine/core";
import { useDisclosure, useHotkeys } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { send, workFor } from "../api/client";
import type { Account } from "../api/types";
import { useLive } from "./live";
import { browserZone, RANGES, readView, type View } from "./range";
import { text } from "./text";

const PAGES = [
  { path: "/", label: text.overview },
  { path: "/calls", label: text.calls },
];

export function Frame({ account }: { account: Account }) {
  const [menuOpen, menu] = useDisclosure();
  const [paletteOpen, palette] = useDisclosure();
  const location = useLocation();
  const navigate = useNavigate();
  const client = useQueryClient();
  const { toggleColorScheme } = useMantineColorScheme();
  const view = readView(location.search as Record<string, unknown>);
  const current = account.organizations.find((item) => item.slug === view.organization) ?? account.organization;
  workFor(current?.slug ?? null);
  const live = useLive(!view.from, current?.slug ?? null);
  useHotkeys([["mod+K", palette.open]], []);

  const change = (next: Partial<View>, path: string = location.pathname) =>
    void navigate({ to: path, search: { ...view, ...next } as never });
  const zones = useMemo(
    () => [...new Set([browserZone, current?.reporting_zone ?? "UTC", "UTC", ...(view.zone ? [view.zone] : [])])],
    [current?.reporting_zone, view.zone],
  );
  const signOut = async () => {
    await send("/api/identity/sign-out");
    client.clear();
    await navigate({ to: "/sign-in", search: {} as never });
  };

  return (
    <AppShell header={{ height: { base: 104, sm: 56 } }} navbar={{ width: 200, breakpoint: "sm", collapsed: { mobile: !menuOpen } }} padding="md">
      <a className="skip" href="#content">{text.skip}</a>
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" gap="xs" wrap="wrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={menuOpen} onClick={menu.toggle} hiddenFrom="sm" size="sm" aria-label="Menu" />
            <Text fw={700}>Nexus</Text>
            {account.organizations.length > 1 ? (
              <Select size="xs" w={150} aria-label={text.organization} allowDeselect={false} value={current?.slug ?? null}
                data={account.organizations.map((item) => ({ value: item.slug, label: item.name }))}
                onChange={(slug) => { workFor(slug); client.removeQueries({ queryKey: ["metering"] }); change({ organization: slug ?? undefined }); }} />
            ) : <Text size="sm" c="dimmed" visibleFrom="sm">{current?.name}</Text>}
          </Group>
          <Group gap={6} wrap="nowrap">
            {live !== "off" && (
              <Tooltip label={live === "live" ? "New calls show within a second" : text.paused}>
                <Badge visibleFrom="sm" variant="dot" color={live === "live" ? "teal" : "orange"} size="sm" miw={70} aria-live="polite">{live === "live" ? text.live : text.paused}</Badge>
              </Tooltip>
            )}
            <Select size="xs" w={124} aria-label={text.range} allowDeselect={false}
              value={view.from ? "custom" : (view.range ?? "24h")}
              data={[...Object.keys(RANGES).map((value) => ({ value, label: text.last[value] ?? value })), ...(view.from ? [{ value: "custom", label: text.custom }] : [])]}
              onChange={(range) => range && range !== "custom" && change({ range, from: undefined, to: undefined })} />
            <Select size="xs" w={120} aria-label={text.zone} visibleFrom="sm" allowDeselect={false} value={view.zone ?? browserZone} data={zones} onChange={(zone) => change({ zone: zone ?? undefined })} />
            <Tooltip label={<Group gap={4}>{text.search} <Kbd size="xs">Ctrl K</Kbd></Group>}>
              <ActionIcon variant="default" onClick={palette.open} aria-label={text.search}>⌕</ActionIcon>
            </Tooltip>
            <Menu position="bottom-end" withinPortal>
              <Menu.Target><ActionIcon variant="default" aria-label="Account">{(account.user?.email ?? "?")[0]?.toUpperCase()}</ActionIcon></Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>{account.user?.email}</Menu.Label>
                <Menu.Item onClick={() => toggleColorScheme()}>{text.theme}</Menu.Item>
                <Menu.Item component="a" href="/docs">{text.api}</Menu.Item>
                <Menu.Item onClick={() => void signOut()}>{text.signOut}</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs">
        {PAGES.map((page) => (
          <NavLink key={page.path} label={page.label} active={location.pathname === page.path} href={page.path}
            onClick={(event) => { event.preventDefault(); menu.close(); change({ provider: undefined, errors: undefined }, page.path); }} />
        ))}
        <NavLink label={text.api} href="/docs" mt="auto" />
      </AppShell.Navbar>
      <AppShell.Main id="content"><Outlet /></AppShell.Main>
      <Palette opened={paletteOpen} close={palette.close} go={change} />
    </AppShell>
  );
}

function Palette({ opened, close, go }: { opened: boolean; close: () => void; go: (view: Partial<View>, path?: string) => void }) {
  const [words, setWords] = useState("");
  const actions = [
    ...PAGES.map((page) => ({ label: page.label, run: () => go({}, page.path) })),
    ...Object.keys(RANGES).map((range) => ({ label: text.last[range] ?? range, run: () => go({ range, from: undefined, to: undefined }) })),
    { label: text.onlyErrors, run: () => go({ errors: true }, "/calls") },
    { label: text.api, run: () => window.location.assign("/docs") },
  ].filter((action) => action.label.toLowerCase().includes(words.toLowerCase()));
  const run = (action?: { run: () => void }) => {
    action?.run();
    setWords("");
    close();
  };
  return (
    <Modal opened={opened} onClose={close} title={text.search} closeButtonProps={{ "aria-label": text.close }}>
      <TextInput data-autofocus aria-label={text.search} placeholder={text.search} value={words} onChange={(event) => setWords(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Enter" && run(actions[0])} />
      <Stack gap={2} mt="xs">
        {actions.map((action) => (
          <UnstyledButton key={action.label} p="xs" onClick={() => run(action)}>{action.label}</UnstyledButton>
        ))}
        {!actions.length && <Text size="sm" c="dimmed" p="xs">{text.nothingFound}</Text>}
      </Stack>
    </Modal>
  );
}
