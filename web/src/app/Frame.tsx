import {
  ActionIcon, AppShell, Badge, Burger, Group, Kbd, Loader, Menu, Modal, NavLink, Select, Stack, Text, TextInput, Tooltip, UnstyledButton, useMantineColorScheme,
} from "@mantine/core";
import { useDisclosure, useHotkeys } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { Outlet, useNavigate } from "@tanstack/react-router";
import { Suspense, useEffect, useEffectEvent, useMemo, useState } from "react";
import { send, workFor } from "../api/client";
import type { Account } from "../api/types";
import { useAddress } from "./address";
import { SceneProvider, type Scene } from "./context";
import { LimitsAway } from "./LimitsAway";
import { useLive } from "./live";
import { Proof } from "./Proof";
import { browserZone, frameOf, RANGES, readView, spanOf, type View } from "./range";
import { text } from "./text";
import { TimeRange } from "./TimeRange";

/** Pages below those of the navigation that show a range of time. */
const TIMED_BELOW = new Set(["/tools/one"]);
interface PageOf { path: string; label: string; needs: string; isTimed?: boolean }
/** By job: to see what happens, to say how much may, and to set up what is there. */
const JOBS: { name: string; pages: PageOf[] }[] = [
  {
    name: text.watch, pages: [
      { path: "/", label: text.overview, needs: "metrics:read", isTimed: true },
      { path: "/calls", label: text.calls, needs: "metrics:read", isTimed: true },
      { path: "/costs", label: text.costs, needs: "metrics:read", isTimed: true },
      { path: "/providers", label: text.providers, needs: "catalog:read", isTimed: true },
      { path: "/tools", label: text.mcp, needs: "metrics:read", isTimed: true },
      { path: "/storage", label: text.storage, needs: "metrics:read", isTimed: true },
      { path: "/explore", label: text.metricsPage, needs: "metrics:read", isTimed: true },
      { path: "/errors", label: text.errorsPage, needs: "error:read" },
    ],
  },
  {
    name: text.limit, pages: [
      { path: "/budgets", label: text.budgets, needs: "budget:read" },
      { path: "/limits", label: text.limits, needs: "quota:read", isTimed: true },
      { path: "/quotas", label: text.quotas, needs: "quota:read" },
      { path: "/loans", label: text.loans, needs: "quota:read" },
      { path: "/operations", label: text.operations, needs: "quota:read" },
    ],
  },
  {
    name: text.setUp, pages: [
      { path: "/routes", label: text.routes, needs: "catalog:read" },
      { path: "/servers", label: text.mcpServers, needs: "mcp_server:read" },
      { path: "/prices", label: text.prices, needs: "catalog:read" },
      { path: "/keys", label: text.keys, needs: "key:read" },
      { path: "/members", label: text.members, needs: "user:read" },
      { path: "/audit", label: text.audit, needs: "audit:read", isTimed: true },
      { path: "/settings", label: text.settings, needs: "organization:read" },
    ],
  },
];
const PAGES = JOBS.flatMap((job) => job.pages);

/** The minute that has begun; a live range moves on with it. */
function useMinute(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 10_000);
    return () => window.clearInterval(timer);
  }, []);
  return Math.floor(now / 60_000) * 60_000;
}

export function Frame({ account }: { account: Account }) {
  const [menuOpen, menu] = useDisclosure();
  const [paletteOpen, palette] = useDisclosure();
  const address = useAddress();
  const navigate = useNavigate();
  const client = useQueryClient();
  const minute = useMinute();
  const { setColorScheme, colorScheme } = useMantineColorScheme();
  const view = readView(address.search);
  const current = account.organizations.find((item) => item.slug === view.organization) ?? account.organization;
  workFor(current?.slug ?? null);
  const may = (permission: string) => account.permissions.includes("*") || account.permissions.includes(permission);
  const live = useLive(!view.from && may("metrics:read"), current?.slug ?? null);
  useHotkeys([["mod+K", palette.open]], []);
  const preferred = (account.user?.preferences as { theme?: string } | undefined)?.theme;
  const dress = useEffectEvent((wanted: string | undefined) => {
    if (wanted === "light" || wanted === "dark") setColorScheme(wanted);
    else if (wanted === "system") setColorScheme("auto");
  });
  useEffect(() => dress(preferred), [preferred]);

  const go = (next: View, path?: string) => {
    // What the address says now, not when this was drawn: of two quick changes neither is lost.
    const now = address.now();
    const known = readView(now.search);
    const isHere = path === undefined || path === now.path;
    void navigate({ to: path ?? now.path, search: { ...(isHere ? known : frameOf(known)), ...next } });
  };
  const { range, from, to } = view;
  const span = useMemo(() => spanOf({ range, from, to }, minute), [range, from, to, minute]);
  const scene: Scene = { view, span, zone: view.zone ?? browserZone, organization: current?.slug ?? "", currency: current?.currency ?? "USD", account, go, may };
  const pages = PAGES.filter((page) => may(page.needs));
  const page = PAGES.find((item) => item.path === address.path);
  const isTimed = page?.isTimed ?? TIMED_BELOW.has(address.path);
  // A page below another, such as one call, stands under that one in the menu.
  const section = page ?? PAGES.find((item) => address.path.startsWith(`${item.path}/`));
  useEffect(() => {
    document.title = section ? `${section.label} · Nexus` : "Nexus";
  }, [section]);
  const signOut = async () => {
    await send("/api/identity/sign-out");
    client.clear();
    await navigate({ to: "/sign-in", search: {} });
  };
  const change = async (slug: string | null) => {
    workFor(slug);
    client.removeQueries({ predicate: (query) => query.queryKey[0] !== "account" });
    await navigate({ to: address.path, search: { ...frameOf(view), organization: slug ?? undefined } });
    await client.invalidateQueries({ queryKey: ["account"] });
  };

  return (
    <SceneProvider value={scene}>
      <AppShell header={{ height: { base: isTimed ? 96 : 56, sm: 56 } }} navbar={{ width: 190, breakpoint: "sm", collapsed: { mobile: !menuOpen } }} padding="md">
        <AppShell.Header px="md">
          <a className="skip" href="#content">{text.skip}</a>
          <Group h="100%" justify="space-between" gap={4} wrap="wrap">
            <Group gap="sm" wrap="nowrap">
              <Burger opened={menuOpen} onClick={menu.toggle} hiddenFrom="sm" size="sm" aria-label={text.menu} aria-expanded={menuOpen} />
              <Text fw={700}>Nexus</Text>
              {account.organizations.length > 1 ? (
                <Select size="xs" w={170} aria-label={text.organization} allowDeselect={false} searchable value={current?.slug ?? null}
                  data={account.organizations.map((item) => ({ value: item.slug, label: item.name }))} onChange={(slug) => void change(slug)} />
              ) : <Text size="sm" c="dimmed" truncate maw={160}>{current?.name}</Text>}
            </Group>
            <Group gap={6} wrap="nowrap">
              {live !== "off" && isTimed && (
                <Tooltip withinPortal={false} label={live === "live" ? text.liveLead : text.paused}>
                  <Badge visibleFrom="sm" variant="dot" color={live === "live" ? "teal" : "orange"} size="sm" miw={70} aria-live="polite">{live === "live" ? text.live : text.paused}</Badge>
                </Tooltip>
              )}
              {isTimed && <TimeRange />}
              <Tooltip withinPortal={false} label={<Group gap={4}>{text.search} <Kbd size="xs">Ctrl K</Kbd></Group>}>
                <ActionIcon variant="default" size={30} onClick={palette.open} aria-label={text.search}>⌕</ActionIcon>
              </Tooltip>
              <Menu position="bottom-end" withinPortal>
                <Menu.Target><ActionIcon variant="default" size={30} aria-label={text.account}>{(account.user?.email ?? "?")[0]?.toUpperCase()}</ActionIcon></Menu.Target>
                <Menu.Dropdown>
                  <Menu.Label>{account.user?.email}</Menu.Label>
                  <Menu.Item onClick={() => go({}, "/account")}>{text.account}</Menu.Item>
                  <Menu.Item onClick={() => setColorScheme(colorScheme === "dark" ? "light" : "dark")}>{text.theme}</Menu.Item>
                  <Menu.Item component="a" href="/docs">{text.api}</Menu.Item>
                  <Menu.Item onClick={() => void signOut()}>{text.signOut}</Menu.Item>
                </Menu.Dropdown>
              </Menu>
            </Group>
          </Group>
        </AppShell.Header>
        <AppShell.Navbar p="xs" style={{ overflowY: "auto" }} aria-label={text.menu}>
          {JOBS.map((job) => ({ ...job, pages: job.pages.filter((item) => pages.includes(item)) })).filter((job) => job.pages.length).map((job) => (
            <div key={job.name} role="group" aria-label={job.name}>
              <Text size="xs" c="dimmed" fw={600} px="sm" pt={8} pb={2} aria-hidden>{job.name}</Text>
              {job.pages.map((item) => (
                <NavLink key={item.path} py={5} label={item.label} active={section === item} aria-current={page === item ? "page" : undefined} href={item.path}
                  onClick={(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); menu.close(); go(address.path === item.path ? Object.fromEntries(Object.keys(view).filter((name) => !(name in frameOf(view))).map((name) => [name, undefined])) : {}, item.path); }} />
              ))}
            </div>
          ))}
          <NavLink py={5} label={text.api} href="/docs" mt="auto" />
        </AppShell.Navbar>
        <AppShell.Main id="content" tabIndex={-1}><LimitsAway organization={scene.organization} /><Suspense fallback={<Loader aria-label={text.loading} data-loading />}><Outlet /></Suspense></AppShell.Main>
        <Palette opened={paletteOpen} close={palette.close} go={go} pages={pages} />
        <Proof />
      </AppShell>
    </SceneProvider>
  );
}

function Palette({ opened, close, go, pages }: { opened: boolean; close: () => void; go: Scene["go"]; pages: { path: string; label: string }[] }) {
  const [words, setWords] = useState("");
  const actions = [
    ...pages.map((page) => ({ label: page.label, run: () => go({}, page.path) })),
    { label: text.account, run: () => go({}, "/account") },
    ...Object.keys(RANGES).map((range) => ({ label: text.last[range] ?? range, run: () => go({ range, from: undefined, to: undefined }) })),
    { label: text.onlyErrors, run: () => go({ errors: "true" }, "/calls") },
    { label: text.onlyUnpriced, run: () => go({ unpriced: "true" }, "/calls") },
    { label: text.onlyRefused, run: () => go({ refused: "true" }, "/calls") },
    { label: text.api, run: () => window.location.assign("/docs") },
  ].filter((action) => action.label.toLowerCase().includes(words.toLowerCase()));
  const run = (action?: { run: () => void }) => {
    action?.run();
    setWords("");
    close();
  };
  return (
    // Opened without a fade and focused as it is drawn: whoever types right after Ctrl+K loses no letter.
    <Modal opened={opened} onClose={close} title={text.search} closeButtonProps={{ "aria-label": text.close }}>
      <TextInput autoFocus data-autofocus aria-label={text.search} placeholder={text.search} value={words} onChange={(event) => setWords(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Enter" && run(actions[0])} />
      <Stack gap={2} mt="xs">
        {actions.map((action) => <UnstyledButton key={action.label} p="xs" onClick={() => run(action)}>{action.label}</UnstyledButton>)}
        {!actions.length && <Text size="sm" c="dimmed" p="xs">{text.nothingFound}</Text>}
      </Stack>
    </Modal>
  );
}
