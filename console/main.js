// The frame around every page: menu, search, keys, and who is signed in.
import { classes, html, render, signal, useEffect, useRef, useState } from "./lib/html.js";
import { NOBODY, Problem, allowed, base, copied, copying, get, leaveToSignIn, open, published, session, signIn, signOut, tenant } from "./lib/api.js";
import { Ended, enter } from "./portal/portal.js";
import { isId, remember, theme, zone } from "./lib/format.js";
import { go, here, intercept, link, param, route, setQuery, visits } from "./lib/router.js";
import { Button, Code, CopyAction, Dialog, Empty, Failure, Field, Icon, IconButton, Page, Segments, Skeleton, Toasts, toast } from "./lib/ui.js";

/** @type {[string, string[][]][]} */
const MENU = [
  ["", [["/", "Overview", "home", "o"]]],
  ["Traffic", [["/deliveries", "Deliveries", "send", "d"], ["/events", "Events", "inbox", "e"], ["/live", "Live tail", "live", "l"], ["/jobs", "Jobs", "job", "j"], ["/statistics", "Statistics", "chart", "t"]]],
  ["Endpoints", [["/subscriptions", "Subscriptions", "hook", "s"], ["/inbound", "Inbound", "door", "i"], ["/catalog", "Event catalog", "book", "c"]]],
  ["Operate", [["/tenants", "Tenants", "people", "n"], ["/keys", "Keys", "key", "k"], ["/audit", "Audit log", "book", "a"], ["/system", "System", "server", "y"]]],
];

/** The pages of the caller, by the headings of the menu. */
const menu = () =>
  MENU.filter(([name]) => name !== "Operate" || allowed("admin")).map(([name, pages]) => /** @type {[string, string[][]]} */ ([name, pages.filter(([to]) => to !== "/catalog" || !session.value?.caller?.limited)]));

const helping = signal(false);
const menuOpen = signal(false);
const failed = signal(/** @type {any} */ (null));

const Logo = () => html`<img src=${session.value?.look?.has_logo ? `${base}/logo` : new URL("icon.svg", import.meta.url).href} alt="" />`;

function Menu() {
  const path = here.value.path;
  const caller = session.value?.caller;
  const current = (to) => (to === "/" ? path === "/" : path === to || path.startsWith(`${to}/`));
  const cycle = { auto: "light", light: "dark", dark: "auto" };
  return html`
    ${menuOpen.value && html`<div class="veil" onClick=${() => (menuOpen.value = false)}></div>`}
    <nav class=${classes("side", menuOpen.value && "open")} id="menu" aria-label="Pages">
      <a class="brand" href=${link("/")}><${Logo} />${session.value?.look?.name || "Webhooks"}</a>
      ${menu().map(
        ([name, pages]) => html`
          <div key=${name}>
            ${name && html`<h2>${name}</h2>`}
            <ul>
              ${pages.map(
                ([to, title, icon]) => html`
                  <li key=${to}><a href=${link(to)} aria-current=${current(to) ? "page" : undefined}><${Icon} name=${icon} />${title}</a></li>
                `,
              )}
            </ul>
          </div>
        `,
      )}
      <div class="sidefoot">
        ${!base && html`<ul><li><a href="/docs" target="_blank" rel="noopener"><${Icon} name="book" />API reference</a></li></ul>`}
        <div class="row">
          <${Segments} label="Times" value=${zone.value} options=${[["local", "Local"], ["utc", "UTC"]]}
            onChange=${(value) => remember("zone", (zone.value = value))} />
          <${IconButton} icon=${{ auto: "auto", light: "sun", dark: "moon" }[theme.value] || "auto"} label=${`Theme: ${theme.value}. Change it`}
            onClick=${() => remember("theme", (theme.value = cycle[theme.value] || "auto"))} />
          <${IconButton} icon="info" label="Keys" onClick=${() => (helping.value = true)} />
        </div>
        ${caller && !base &&
        html`
          <div class="who">
            <div class="grow">
              <div class="strong">${caller.name || (caller.key_id === "anonymous" ? "No sign-in needed" : "Signed in")}</div>
              <div class="mute">${caller.role} in ${caller.tenant_id}</div>
            </div>
            ${session.value.required && html`<${IconButton} icon="door" label="Sign out" onClick=${() => signOut().catch((problem) => toast(problem.message, "bad"))} />`}
          </div>
        `}
      </div>
    </nav>
  `;
}

/** Find what an id belongs to, or what was accepted under a key. */
async function lookup(text) {
  if (isId(text)) {
    const places = [["/api/v1/deliveries/", "/deliveries/"], ["/api/v1/events/", "/events/"], ["/api/v1/subscriptions/", "/subscriptions/"], ["/api/v1/jobs/", "/jobs/"]];
    for (const [path, page] of places) {
      try {
        await get(path + text);
        return page + text;
      } catch (problem) {
        if (!(problem instanceof Problem) || ![404, 410].includes(problem.status)) throw problem;
      }
    }
    return "";
  }
  for (const name of ["idempotency_key", "provider_id", ...(text.includes("=") ? ["tag"] : [])]) {
    try {
      const found = await get("/api/v1/deliveries", { [name]: text, limit: 2 });
      if (found.items.length === 1) return `/deliveries/${found.items[0].id}`;
      if (found.items.length) return `/deliveries?${new URLSearchParams({ [name]: text })}`;
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 422) throw problem;
    }
  }
  const named = /^[a-z0-9._-]{1,64}$/.test(text) ? await get("/api/v1/subscriptions", { name: text, limit: 1 }) : { items: [] };
  return named.items.length ? `/subscriptions/${named.items[0].id}` : "";
}

function Find() {
  const [state, set] = useState({ busy: false, message: "" });
  const submit = async (event) => {
    event.preventDefault();
    const input = event.currentTarget.elements.namedItem("find");
    const text = input.value.trim();
    if (!text) return;
    set({ busy: true, message: "Looking…" });
    try {
      const to = await lookup(text);
      set({ busy: false, message: to ? "" : `Nothing was found for “${text}”. It may be older than what is kept.` });
      if (!to) return;
      input.value = "";
      go(to);
    } catch (problem) {
      set({ busy: false, message: problem.message });
    }
  };
  const clear = () => state.message && set({ busy: false, message: "" });
  return html`
    <form class="find" role="search" onSubmit=${submit}>
      <${Icon} name="search" />
      <input name="find" id="find" type="search" autocomplete="off" spellcheck=${false} onInput=${clear} onBlur=${clear}
        aria-label="Find an id, an idempotency key, a tag, or a name" placeholder="Find an id, a key, a tag, a name…" />
      <kbd aria-hidden="true">/</kbd>
      <div role="status">${state.message && html`<div>${state.message}</div>`}</div>
    </form>
  `;
}

const KEYS = [
  ["/", "Find an id, an idempotency key, a tag, or a name"],
  ["j  k", "Next and previous row of a list"],
  ["Enter", "Open the row"],
  ["x", "Choose the row, to act on several"],
  ["r", "Retry this delivery, or the row's"],
  ["n", "Show what is new in a list"],
  ["f", "Filters of a list"],
  ["c", "Copy the next action as curl, in place of doing it"],
  ["?", "These keys"],
];

const Help = () => html`
  <${Dialog} title="Keys" onClose=${() => (helping.value = false)}>
    <table aria-label="Keys">
      <tbody>
        ${KEYS.map(([keys, what]) => html`<tr><td>${keys.split("  ").map((key) => html`<kbd>${key}</kbd> `)}</td><td>${what}</td></tr>`)}
        ${menu().flatMap(([, pages]) => pages).map(
          ([, title, , key]) => html`<tr><td><kbd>g</kbd> <kbd>${key}</kbd></td><td>${title}</td></tr>`,
        )}
      </tbody>
    </table>
  <//>
`;

/** Let actions be done again. */
function stopCopying() {
  copying.value = false;
  copied.value = [];
}

/** What was asked for, as commands. */
const Copied = () => html`
  <${Dialog} title="The same with curl" wide onClose=${stopCopying}>
    <p class="mute">Nothing was done.${session.value?.required ? html` <span class="mono">WEBHOOK_API_KEY</span> is your API key.` : ""}</p>
    ${copied.value.map((text) => html`<${Code} wrap text=${text} label="Command" />`)}
  <//>
`;

let waitsForPage = 0;

/** Keys for those who do not use a mouse: none while somebody types or a dialog is open. */
function press(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && menuOpen.value) menuOpen.value = false;
  if (event.target instanceof HTMLElement && event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row instanceof HTMLElement && row.offsetParent);
  const at = rows.findIndex((row) => row.closest("tr, li") === document.activeElement?.closest("tr, li"));
  const click = (selector) => {
    const found = document.querySelector(selector);
    if (found instanceof HTMLElement) found.click();
    return Boolean(found);
  };
  if (Date.now() - waitsForPage < 1500) {
    waitsForPage = 0;
    const page = menu().flatMap(([, pages]) => pages).find(([, , , key]) => key === event.key);
    if (page) {
      event.preventDefault();
      go(page[0]);
    }
    return;
  }
  const focus = (row) => {
    row?.focus();
    row?.scrollIntoView({ block: "nearest" });
  };
  const inRow = (selector) => rows[at]?.closest("tr, li")?.querySelector(selector);
  const acts = {
    "/": () => document.getElementById("find")?.focus(),
    "?": () => (helping.value = true),
    g: () => (waitsForPage = Date.now()),
    j: () => focus(rows[Math.min(at + 1, rows.length - 1)]),
    k: () => focus(rows[Math.max(at - 1, 0)]),
    x: () => inRow("input[type=checkbox]")?.click(),
    n: () => click(".fresh button"),
    f: () => click("[data-filters]"),
    c: () => (copying.value = !copying.value),
    r: () => (at >= 0 && inRow("[data-retry]") ? inRow("[data-retry]").click() : click("main [data-retry-page]")),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

function Content() {
  const found = route.value;
  const [page, set] = useState(/** @type {any} */ ({}));
  useEffect(() => {
    let gone = false;
    if (found) {
      found.load().then(
        (module) => gone || set({ path: found.path, View: module.default, args: found.args }),
        () => gone || set({ path: found.path, error: new Problem({ detail: "This page could not be loaded. Reload to get the current version." }) }),
      );
    }
    return () => (gone = true);
  }, [found?.path]);
  if (!found) {
    return html`<${Page} title="Page not found"><div class="card"><${Empty} icon="search" title="There is no page at this address"><p>It may have been mistyped.</p><//></div><//>`;
  }
  if (page.path !== found.path) return html`<h1 class="unseen">${found.title}</h1><${Skeleton} />`;
  if (page.error) return html`<${Failure} error=${page.error} retry=${() => location.reload()} />`;
  return html`<${page.View} key=${`${found.path} ${tenant.value}`} args=${page.args} />`;
}

function Frame() {
  const main = useRef(/** @type {any} */ (null));
  const first = useRef(true);
  useEffect(() => {
    menuOpen.value = false;
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
  }, [visits.value]);
  return html`
    <a class="skip" href="#main">Skip to the page</a>
    <div class="frame">
      <${Menu} />
      <div class="main">
        <header class="top">
          <button type="button" class="button quiet square menu" aria-label="Menu" aria-expanded=${menuOpen.value} aria-controls="menu"
            onClick=${() => (menuOpen.value = !menuOpen.value)}><${Icon} name="menu" /></button>
          <${Find} />
          <${CopyAction} />
        </header>
        ${tenant.value &&
        html`
          <div class="acting" role="status">
            <${Icon} name="people" /> Acting in <strong>${tenant.value}</strong>
            <${Button} kind="small" onClick=${() => setQuery({ tenant: null })}>Leave<//>
          </div>
        `}
        ${copying.value && html`<div class="acting" role="status"><${Icon} name="terminal" /> The next action is copied as curl, and not done<${Button} kind="small" onClick=${stopCopying}>Stop<//></div>`}
        <main id="main" tabindex="-1" ref=${main}><${Content} /></main>
      </div>
    </div>
    ${helping.value && html`<${Help} />`}
    ${copied.value.length > 0 && html`<${Copied} />`}
    <${Toasts} />
  `;
}

/** The catalog that a tenant publishes. */
const Published = () => html`
  <div class="main">
    <header class="top brand"><${Logo} />${session.value?.look?.name}</header>
    <main id="main"><${Content} /></main>
  </div>
`;

/** What went wrong at the issuer, as services/gateway/console/oidc.py names it. @type {Record<string, string>} */
const PROBLEMS = {
  denied: "The sign-in was cancelled.",
  refused: "The sign-in was not valid, took too long, or was used already. Try again. If it happens again, ask an operator.",
  role: "None of your groups has a role here. Ask an operator.",
  busy: "Too many people are signing in. Try again.",
  unavailable: "The page to sign in at cannot be reached now. Try again.",
};
// Where somebody was before they went to the issuer.
const LEFT = "left";

/** Go on where somebody was before they signed in. */
function goOn() {
  const to = sessionStorage.getItem(LEFT) || "/";
  sessionStorage.removeItem(LEFT);
  if (here.value.path === "/sign-in") go(to, { replace: true });
}

function SignIn() {
  const [state, set] = useState(/** @type {{busy: boolean, error: any, left?: string}} */ ({ busy: false, error: null }));
  const input = useRef(/** @type {any} */ (null));
  useEffect(() => {
    document.title = "Sign in · Webhooks";
    input.current?.focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    set({ busy: true, error: null });
    try {
      await signIn(input.current.value.trim());
      goOn();
    } catch (error) {
      set({ busy: false, error });
      input.current?.focus();
    }
  };
  const leave = async () => {
    set({ busy: true, error: null });
    try {
      if (here.value.path !== "/sign-in") sessionStorage.setItem(LEFT, location.pathname + location.search);
      await leaveToSignIn();
    } catch (problem) {
      set({ busy: false, error: null, left: problem.message });
    }
  };
  const problem = state.left || (here.value.path === "/sign-in" && PROBLEMS[param("problem")]);
  return html`
    <main class="signin">
      <form onSubmit=${submit}>
        <${Logo} />
        <div><h1>Sign in</h1>${!session.value?.oidc && html`<p class="about">With an API key of the role read, write, or admin.</p>`}</div>
        ${problem && html`<p class="note bad" role="alert">${problem}</p>`}
        ${session.value?.oidc &&
        html`
          <${Button} kind="primary" onClick=${leave} busy=${state.busy}>Sign in with your organization<//>
          <p class="about">Or with an API key of the role read, write, or admin:</p>
        `}
        <${Field} label="API key" error=${state.error?.message}>
          ${(attributes) => html`<input ...${attributes} ref=${input} type="password" class="mono" required autocomplete="current-password" placeholder="whk_…" />`}
        <//>
        <${Button} kind=${session.value?.oidc ? "" : "primary"} type="submit" busy=${state.busy}>Sign in${session.value?.oidc && " with the key"}<//>
        <p class="hint">The key is exchanged for a session and is not stored in this browser.</p>
      </form>
    </main>
  `;
}

function App() {
  useEffect(() => {
    const root = document.documentElement;
    if (theme.value === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme.value;
  }, [theme.value]);
  if (failed.value) return html`<main class="signin"><${Failure} error=${failed.value} retry=${begin} /></main>`;
  if (!session.value) return html`<main class="signin"><${Skeleton} rows=${3} /></main>`;
  if (published) return html`<${Published} />`;
  return session.value.caller ? html`<${Frame} />` : base ? html`<${Ended} />` : html`<${SignIn} />`;
}

async function begin() {
  failed.value = null;
  try {
    if (published) {
      const { info } = await get(base, { format: "openapi" });
      session.value = { ...NOBODY, look: { name: info.title } };
    } else await (base ? enter() : open());
    if (!base && session.value?.caller && here.value.path === "/sign-in") goOn();
  } catch (problem) {
    failed.value = problem;
  }
}

intercept();
addEventListener("keydown", press);
render(html`<${App} />`, document.getElementById("app"));
begin();
