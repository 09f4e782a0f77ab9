import "@mantine/core/styles.css";
import "./app/style.css";
import { Anchor, Center, createTheme, Drawer, Loader, MantineProvider, Modal, Popover, Stack } from "@mantine/core";
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { createRootRoute, createRoute, createRouter, Outlet, RouterProvider, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, StrictMode, Suspense, useEffect, type FunctionComponent } from "react";
import { createRoot } from "react-dom/client";
import { ApiError, request } from "./api/client";
import type { Account } from "./api/types";
import { Frame } from "./app/Frame";
import { Problem } from "./app/Problem";
import { readSearch, writeSearch } from "./app/range";
import { text } from "./app/text";
import { SignIn } from "./features/identity/SignIn";
import { Overview } from "./features/metering/Overview";

const client = new QueryClient({
  defaultOptions: { queries: { retry: (failures, error) => failures < 2 && !(error instanceof ApiError && error.problem.status >= 400 && error.problem.status < 500), refetchOnWindowFocus: true } },
});
// Dialogues do not fade in: what is typed right after one was opened belongs to it, and none is in the way of what is clicked next.
// Their heads are no second head of the page.
const atOnce = { defaultProps: { transitionProps: { duration: 0 }, attributes: { header: { role: "presentation" } } } };
const theme = createTheme({
  primaryColor: "blue", primaryShade: { light: 8, dark: 8 }, fontFamily: "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif", defaultRadius: "md",
  respectReducedMotion: true,
  components: { Modal: Modal.extend(atOnce), Drawer: Drawer.extend(atOnce), Popover: Popover.extend({ defaultProps: { transitionProps: { duration: 0 } } }) },
});

function SignedIn() {
  // Permissions are those in the organization that the address names.
  const wanted = useSearch({ strict: false, select: (search: { organization?: string }) => search.organization });
  const account = useQuery({
    queryKey: ["account", wanted ?? ""],
    queryFn: async () => {
      const headers: Record<string, string> = wanted ? { "x-nexus-organization": wanted } : {};
      const answer = await fetch("/api/identity/me", { headers, credentials: "same-origin" });
      // An organization that one may not enter (any more): show one's own.
      return answer.ok ? ((await answer.json()) as Account) : request<Account>("/api/identity/me");
    },
    placeholderData: (known) => known,
    staleTime: 60_000,
  });
  const navigate = useNavigate();
  const isOut = account.error instanceof ApiError && account.error.problem.status === 401;
  useEffect(() => {
    if (isOut) void navigate({ to: "/sign-in", search: { then: window.location.pathname + window.location.search }, replace: true });
  }, [isOut, navigate]);
  if (account.data) return <Frame account={account.data} />;
  if (account.isError && !isOut) return <Center component="main" mih="100vh" p="md"><Problem error={account.error} retry={() => void account.refetch()} /></Center>;
  return <Center component="main" mih="100vh"><Loader aria-label={text.loading} /></Center>;
}

const root = createRootRoute({ component: Outlet, notFoundComponent: () => <Center component="main" mih="60vh"><Stack align="center"><h1>{text.noPage}</h1><Anchor href="/">{text.overview}</Anchor></Stack></Center> });
const frame = createRoute({ getParentRoute: () => root, id: "frame", component: SignedIn });
const page = (path: string, component: FunctionComponent) => createRoute({ getParentRoute: () => frame, path, component });
const part = <T extends string>(load: () => Promise<Record<T, FunctionComponent>>, name: T) => lazy(async () => ({ default: (await load())[name] }));
const waiting = (Component: FunctionComponent) => () => <Suspense fallback={<Center component="main" mih="100vh"><Loader aria-label={text.loading} /></Center>}><Component /></Suspense>;

const pages = [
  page("/", Overview),
  page("/calls", part(() => import("./features/metering/Calls"), "Calls")),
  page("/calls/$call", part(() => import("./features/metering/CallPage"), "CallPage")),
  page("/costs", part(() => import("./features/metering/Costs"), "Costs")),
  page("/limits", part(() => import("./features/admission/Limits"), "Limits")),
  page("/tools", part(() => import("./features/mcp/Mcp"), "Mcp")),
  page("/servers", part(() => import("./features/mcp/Servers"), "Servers")),
  page("/tools/one", part(() => import("./features/mcp/ToolPage"), "ToolPage")),
  page("/tools/calls/$call", part(() => import("./features/mcp/ToolCallPage"), "ToolCallPage")),
  page("/storage", part(() => import("./features/storage/Storage"), "Storage")),
  page("/quotas", part(() => import("./features/admission/Quotas"), "Quotas")),
  page("/quotas/$quota", part(() => import("./features/admission/QuotaPage"), "QuotaPage")),
  page("/loans", part(() => import("./features/admission/Loans"), "Loans")),
  page("/operations", part(() => import("./features/admission/Operations"), "Operations")),
  page("/budgets", part(() => import("./features/costs/Budgets"), "Budgets")),
  page("/budgets/$budget", part(() => import("./features/costs/BudgetPage"), "BudgetPage")),
  page("/explore", part(() => import("./features/metrics/Metrics"), "Metrics")),
  page("/errors", part(() => import("./features/errors/Errors"), "Errors")),
  page("/errors/$issue", part(() => import("./features/errors/IssuePage"), "IssuePage")),
  page("/providers", part(() => import("./features/catalog/Providers"), "Providers")),
  page("/routes", part(() => import("./features/catalog/Routes"), "Routes")),
  page("/prices", part(() => import("./features/catalog/Prices"), "Prices")),
  page("/keys", part(() => import("./features/identity/Keys"), "Keys")),
  page("/members", part(() => import("./features/identity/Members"), "Members")),
  page("/audit", part(() => import("./features/governance/Audit"), "Audit")),
  page("/settings", part(() => import("./features/operations/Settings"), "Settings")),
  page("/account", part(() => import("./features/identity/AccountPage"), "AccountPage")),
];
const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  component: function SignInPage() {
    const then = useSearch({ strict: false, select: (search: { then?: string }) => search.then });
    // Only a path of this site may follow a sign-in.
    const target = then && /^\/[\w-]*([/?#][^\\\s]*)?$/.test(then) && !then.startsWith("//") ? then : "/";
    return <SignIn then={() => router.history.push(target)} />;
  },
});
const invitation = createRoute({ getParentRoute: () => root, path: "/invitation", component: waiting(part(() => import("./features/identity/Links"), "Invitation")) });
const resetPassword = createRoute({ getParentRoute: () => root, path: "/reset-password", component: waiting(part(() => import("./features/identity/Links"), "ResetPassword")) });
const router = createRouter({
  routeTree: root.addChildren([frame.addChildren(pages), signIn, invitation, resetPassword]),
  parseSearch: readSearch,
  stringifySearch: writeSearch,
});

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={client}><RouterProvider router={router} /></QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
