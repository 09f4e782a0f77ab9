import "@mantine/core/styles.css";
import "./app/style.css";
import { createTheme, Loader, Center, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { createRootRoute, createRoute, createRouter, Outlet, RouterProvider, useNavigate, useSearch } from "@tanstack/react-router";
import { StrictMode, useEffect, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";
import { ApiError, request } from "./api/client";
import type { Account } from "./api/types";
import { Frame } from "./app/Frame";
import { Problem } from "./app/Problem";
import { browserZone, readView, spanOf, type View } from "./app/range";
import { SignIn } from "./features/identity/SignIn";
import { Calls } from "./features/metering/Calls";
import { Overview } from "./features/metering/Overview";

const client = new QueryClient({
  defaultOptions: { queries: { retry: (failures, error) => failures < 2 && !(error instanceof ApiError && error.problem.status >= 400 && error.problem.status < 500), refetchOnWindowFocus: true } },
});
const theme = createTheme({ primaryColor: "blue", primaryShade: { light: 8, dark: 8 }, fontFamily: "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif", defaultRadius: "md" });

const useAccount = () => useQuery({ queryKey: ["account"], queryFn: () => request<Account>("/api/identity/me"), staleTime: 60_000 });

function SignedIn() {
  const account = useAccount();
  const navigate = useNavigate();
  const isOut = account.error instanceof ApiError && account.error.problem.status === 401;
  useEffect(() => {
    if (isOut) void navigate({ to: "/sign-in", search: { then: window.location.pathname + window.location.search } as never, replace: true });
  }, [isOut, navigate]);
  if (account.data) return <Frame account={account.data} />;
  if (account.isError && !isOut) return <Center mih="100vh" p="md"><Problem error={account.error} retry={() => void account.refetch()} /></Center>;
  return <Center mih="100vh"><Loader aria-label="Loading" /></Center>;
}

/** The minute that has begun; a live range moves on with it. */
function useMinute(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 10_000);
    return () => window.clearInterval(timer);
  }, []);
  return Math.floor(now / 60_000) * 60_000;
}

function useView() {
  const view = readView(useSearch({ strict: false }) as Record<string, unknown>);
  const minute = useMinute();
  const account = useAccount();
  const span = useMemo(() => spanOf(view, minute), [view.range, view.from, view.to, minute]);
  const current = account.data?.organizations.find((item) => item.slug === view.organization) ?? account.data?.organization;
  return { view, span, zone: view.zone ?? browserZone, organization: current?.slug ?? "" };
}

const root = createRootRoute({ component: Outlet, notFoundComponent: () => <Center mih="60vh">There is no such page.</Center> });
const frame = createRoute({ getParentRoute: () => root, id: "frame", component: SignedIn });
const search = (values: Record<string, unknown>): View => readView(values);
const overview = createRoute({ getParentRoute: () => frame, path: "/", validateSearch: search, component: () => <Overview {...useView()} /> });
const calls = createRoute({ getParentRoute: () => frame, path: "/calls", validateSearch: search, component: () => <Calls {...useView()} /> });
const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  component: function SignInPage() {
    const then = (useSearch({ strict: false }) as { then?: string }).then;
    // Only a path of this site may follow a sign-in.
    const target = then && /^\/[\w-]*([/?#][^\\\s]*)?$/.test(then) && !then.startsWith("//") ? then : "/";
    return <SignIn then={() => router.history.push(target)} />;
  },
});
const router = createRouter({ routeTree: root.addChildren([frame.addChildren([overview, calls]), signIn]) });

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={client}><RouterProvider router={router} /></QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
