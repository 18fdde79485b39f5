// The address bar is the state of a page: paths, their parameters, and queries.
import { computed, signal } from "./html.js";
import { base, published, tenant } from "./api.js";

const CATALOG = "/catalog";
const read = () => ({ path: published ? CATALOG : location.pathname.slice(base.length).replace(/(.)\/+$/, "$1") || "/", query: new URLSearchParams(location.search) });

/** Where we are. */
export const here = signal(read());
/** Counts navigations to other pages, so that the focus moves with them. */
export const visits = signal(0);

const follow = () => {
  const before = here.value.path;
  here.value = read();
  tenant.value = here.value.query.get("tenant") || "";
  if (before !== here.value.path) visits.value += 1;
};

tenant.value = here.value.query.get("tenant") || "";
addEventListener("popstate", follow);

/** Return a link within the console, which stays in the tenant. @param {string} to */
export function link(to) {
  const found = new URL(to, location.origin);
  if (tenant.value && !found.searchParams.has("tenant")) found.searchParams.set("tenant", tenant.value);
  const path = published ? "" : found.pathname;
  return (path.startsWith(`${base}/`) ? "" : base) + path + found.search + found.hash;
}

/**
 * Go to a page.
 * @param {string} to
 * @param {{replace?: boolean}} [options]
 */
export function go(to, { replace = false } = {}) {
  const target = link(to);
  if (target !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", target);
  follow();
  if (!replace) scrollTo(0, 0);
}

/**
 * Change parameters of the query: null and "" remove one, a list repeats it.
 * @param {Record<string, string | number | string[] | null | undefined>} changes
 * @param {{replace?: boolean}} [options]
 */
export function setQuery(changes, { replace = true } = {}) {
  const found = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    found.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") found.append(name, String(one));
    }
  }
  const text = found.toString();
  history[replace ? "replaceState" : "pushState"](null, "", text ? `${location.pathname}?${text}` : location.pathname);
  follow();
}

/** Return a parameter of the query. @param {string} name */
export const param = (name) => here.value.query.get(name) || "";
/** Return all values of a parameter. @param {string} name */
export const params = (name) => here.value.query.getAll(name);

// What a path names goes into paths of the API: an id has none of the characters that lead elsewhere.
/** @type {[RegExp, string, () => Promise<any>][]} */
const ROUTES = [
  [/^\/$/, "Overview", () => import("../pages/overview.js")],
  [/^\/deliveries$/, "Deliveries", () => import("../pages/deliveries/list.js")],
  [/^\/deliveries\/([\w-]+)$/, "Delivery", () => import("../pages/deliveries/delivery.js")],
  [/^\/live$/, "Live tail", () => import("../pages/deliveries/live.js")],
  [/^\/events$/, "Events", () => import("../pages/events/list.js")],
  [/^\/events\/([\w-]+)$/, "Event", () => import("../pages/events/event.js")],
  [/^\/subscriptions$/, "Subscriptions", () => import("../pages/subscriptions/list.js")],
  [/^\/subscriptions\/new$/, "New subscription", () => import("../pages/subscriptions/new.js")],
  [/^\/subscriptions\/([\w-]+)$/, "Subscription", () => import("../pages/subscriptions/subscription.js")],
  [/^\/catalog$/, "Event catalog", () => import("../pages/catalog.js")],
  [/^\/inbound$/, "Inbound", () => import("../pages/subscriptions/inbound.js")],
  [/^\/jobs$/, "Jobs", () => import("../pages/jobs/list.js")],
  [/^\/jobs\/([\w-]+)$/, "Job", () => import("../pages/jobs/job.js")],
  [/^\/statistics$/, "Statistics", () => import("../pages/statistics.js")],
  [/^\/keys$/, "Keys and members", () => import("../pages/admin/keys.js")],
  [/^\/audit$/, "Audit log", () => import("../pages/admin/audit.js")],
  [/^\/tenants$/, "Tenants", () => import("../pages/admin/tenants.js")],
  [/^\/system$/, "System", () => import("../pages/admin/system.js")],
  [/^\/sign-in$/, "Overview", () => import("../pages/overview.js")],
];

/** The page of the path, with what the path names. */
export const route = computed(() => {
  const { path } = here.value;
  for (const [pattern, title, load] of ROUTES) {
    const found = pattern.exec(path);
    if (found) return { path, title, load, args: found.slice(1) };
  }
  return null;
});

/** Follow clicks on links to pages without loading the document again. */
export function intercept() {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!(anchor instanceof HTMLAnchorElement) || anchor.target || anchor.hasAttribute("download")) return;
    const path = anchor.pathname.startsWith(base) ? anchor.pathname.slice(base.length) || "/" : "";
    if (anchor.origin !== location.origin || !ROUTES.some(([pattern]) => pattern.test(path))) return;
    if (anchor.hash && anchor.pathname === location.pathname) return;
    event.preventDefault();
    go(path + anchor.search);
  });
}
