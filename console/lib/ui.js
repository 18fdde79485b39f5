// The parts that pages are made of.
import { classes, computed, html, signal, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { absolute, brief, relative, whole } from "./format.js";
import { copying, curl, session } from "./api.js";
import { here, link, setQuery } from "./router.js";
import { useAction } from "./query.js";

const SHAPES = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  slash: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M4.2 4.2l7.6 7.6",
  clock: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M8 5v3.2l2 1.3",
  dots: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  arrow: "M3 8h9M8.5 4.5L12 8l-3.5 3.5",
  pause: "M5.5 4v8M10.5 4v8",
  play: "M5 3.5v9l7-4.5z",
  bolt: "M9 2L4 9h4l-1 5 5-7H8z",
  retry: "M12.8 6.5A5 5 0 1 0 13 9.5M13 3v3.5H9.5",
  search: "M7 3a4 4 0 1 0 0 8a4 4 0 0 0 0-8M10 10l3.5 3.5",
  copy: "M5.5 5.5h7v7h-7zM3.5 10.5v-7h7",
  plus: "M8 3v10M3 8h10",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  home: "M2.5 7.5L8 3l5.5 4.5M4 6.5V13h8V6.5",
  send: "M2.5 8L13.5 3l-3 10.5-3-4z",
  inbox: "M2.5 9.5h3l1 2h3l1-2h3M2.5 9.5L4.5 3.5h7l2 6v3.5h-11z",
  hook: "M3 12.5a2.5 2.5 0 0 1 4-2M8 3.5a2.5 2.5 0 0 1 2.3 3.5M13 12.5a2.5 2.5 0 0 1-3-1M6 9.5l2.5-4.5M9.5 7.5L12 12M4.5 12.5h5",
  job: "M3 4h2M3 8h2M3 12h2M7 4h6M7 8h6M7 12h6",
  chart: "M2.5 13.5h11M4.5 11V8M8 11V3.5M11.5 11V6",
  key: "M10.5 2.5a3 3 0 1 0 0 6a3 3 0 0 0 0-6M8.3 7.7L3 13l1.5.5M5 11l1.3 1.3",
  book: "M3 3h4a1.5 1.5 0 0 1 1 .5A1.5 1.5 0 0 1 9 3h4v9.5H9.5L8 13.5l-1.5-1H3zM8 3.5v10",
  server: "M3 3h10v4H3zM3 9h10v4H3zM5.5 5h.01M5.5 11h.01",
  people: "M6 3.5a2 2 0 1 0 0 4a2 2 0 0 0 0-4M2.5 13a3.5 3.5 0 0 1 7 0M10.5 4a2 2 0 0 1 0 3.5M11.5 9.5a3.5 3.5 0 0 1 2 3.5",
  live: "M4 4.5a5 5 0 0 0 0 7M12 4.5a5 5 0 0 1 0 7M6 6.5a2 2 0 0 0 0 3M10 6.5a2 2 0 0 1 0 3M8 8h.01",
  door: "M9.5 3h-6v10h6M7 8h6.5M11 5.5L13.5 8 11 10.5",
  warn: "M8 2.5l6 11H2zM8 6.5v3M8 11.5h.01",
  info: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M8 7.5v3.5M8 5h.01",
  download: "M8 2.5v7.5M4.5 7L8 10.5 11.5 7M3 13.5h10",
  terminal: "M2.5 3.5h11v9h-11zM5 6l2 2-2 2M8.5 10h2.5",
  sun: "M8 5a3 3 0 1 0 0 6a3 3 0 0 0 0-6M8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11v11M8 5h3.5M8 8h5M8 11h3.5",
  filter: "M2.5 4h11M4.5 8h7M6.5 12h3",
  lock: "M4 7.5h8v6H4zM5.5 7.5V5.5a2.5 2.5 0 0 1 5 0v2",
  trash: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.5 9h6l.5-9",
};

/** @param {{name: string, size?: number}} props */
export const Icon = ({ name, size = 16 }) => html`
  <svg class="icon" viewBox="0 0 16 16" width=${size} height=${size} aria-hidden="true"><path d=${SHAPES[name]} /></svg>
`;

/** A state: by word, shape and color. @param {{look?: import("./words.js").Look, label?: string, title?: string}} props */
export function Badge({ look, label, title }) {
  const { tone, icon, label: word } = look || { tone: "mute", icon: "dots", label: label || "Unknown" };
  return html`<span class="badge ${tone}" title=${title}><${Icon} name=${icon} size=${14} />${label || word}</span>`;
}

/** @param {{look: import("./words.js").Look}} props */
export const Shape = ({ look }) => html`<span class="shape ${look.tone}"><${Icon} name=${look.icon} size=${14} /></span>`;

/** A time as seen from now; the time itself on hover. @param {{at: string | number | null | undefined, none?: string}} props */
export function Time({ at, none = "–" }) {
  const text = useMemo(() => (at ? computed(() => relative(at)) : null), [at]);
  if (!at) return html`<span class="mute">${none}</span>`;
  return html`<time datetime=${new Date(at).toISOString()} title=${absolute(at)}>${text}</time>`;
}

/** A time in full. @param {{at: string | null | undefined, none?: string}} props */
export function Moment({ at, none = "–" }) {
  if (!at) return html`<span class="mute">${none}</span>`;
  return html`<time datetime=${at} title=${absolute(at)}>${whole(at)}</time> <span class="mute nowrap">(<${Time} at=${at} />)</span>`;
}

/** @param {{kind?: string, icon?: string, busy?: boolean, children?: any, [other: string]: any}} props */
export function Button({ kind = "", icon, busy = false, children, ...others }) {
  const inner = html`${icon && html`<${Icon} name=${icon} />`}${children && html`<span>${children}</span>`}`;
  if (others.href) return html`<a class="button ${kind}" ...${others}>${inner}</a>`;
  return html`<button type="button" class="button ${kind}" aria-busy=${busy || undefined} disabled=${busy} ...${others}>${inner}</button>`;
}

/** @param {{icon: string, label: string, [other: string]: any}} props */
export const IconButton = ({ icon, label, ...others }) => html`
  <button type="button" class="button quiet square" aria-label=${label} title=${label} ...${others}><${Icon} name=${icon} /></button>
`;

/** Have the next action copied, and not done, or take that back. */
export const CopyAction = () => html`
  <${IconButton} icon="terminal" label="Copy the next action as curl" aria-pressed=${copying.value} onClick=${() => (copying.value = !copying.value)} />
`;

/** Copy a text; the clipboard needs a secure context, which plain http on another host is not. @param {string} text */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text, readOnly: true });
  (document.querySelector("dialog[open]") || document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** @param {{text: string | (() => string), label?: string, children?: any, kind?: string}} props */
export function Copy({ text, label = "Copy", children, kind = "quiet" }) {
  const [done, set] = useState(false);
  const act = async () => {
    await copy(typeof text === "function" ? text() : text);
    set(true);
    announce("Copied");
    setTimeout(() => set(false), 1500);
  };
  return html`
    <button type="button" class=${classes("button", kind, !children && "square")} aria-label=${children ? undefined : label} title=${label} onClick=${act}>
      <${Icon} name=${done ? "check" : "copy"} />${children && html`<span>${children}</span>`}
    </button>
  `;
}

/** An id: its end, the whole to copy. @param {{value: string, href?: string, whole?: boolean}} props */
export function Id({ value, href, whole = false }) {
  const text = whole ? value : brief(value);
  return html`
    <span class="id">
      ${href ? html`<a class="mono" href=${link(href)} title=${value}>${text}</a>` : html`<span class="mono" title=${value}>${text}</span>`}
      <${Copy} text=${value} label="Copy the id" />
    </span>
  `;
}

/** A text as it is, to copy. @param {{text: string, label: string, wrap?: boolean}} props */
export const Code = ({ text, label, wrap = false }) => html`
  <div class="code"><pre class=${wrap ? "wrap" : ""} tabindex="0" role="group" aria-label=${label}>${text}</pre><${Copy} text=${text} label=${`Copy: ${label}`} /></div>
`;

const said = signal("");
/** Say something to those who do not see it. @param {string} text */
export function announce(text) {
  said.value = "";
  setTimeout(() => (said.value = text), 50);
}

/** @type {{value: {id: number, text: any, tone: string}[]}} */
const toasts = signal([]);
let toastNumber = 0;

/** Say briefly that something was done. @param {any} text @param {string} [tone] */
export function toast(text, tone = "ok") {
  const id = (toastNumber += 1);
  toasts.value = [...toasts.value.slice(-3), { id, text, tone }];
  setTimeout(() => dismiss(id), 7000);
}

const dismiss = (id) => (toasts.value = toasts.value.filter((one) => one.id !== id));

export const Toasts = () => html`
  <div class="toasts" role="status">
    ${toasts.value.map(
      ({ id, text, tone }) => html`
        <div class="toast ${tone}" key=${id}>
          <${Icon} name=${tone === "bad" ? "warn" : "check"} /><span>${text}</span>
          <${IconButton} icon="cross" label="Dismiss" onClick=${() => dismiss(id)} />
        </div>
      `,
    )}
  </div>
  <div class="unseen" aria-live="polite">${said}</div>
`;

/** A page: its heading, what it is about, and what can be done. @param {{title: any, name?: string, back?: {href: string, label: string}, about?: any, actions?: any, children?: any}} props */
export function Page({ title, name, back, about, actions, children }) {
  useEffect(() => {
    document.title = `${name || title} · ${session.value?.look?.name || "Webhooks"}`;
  }, [name, title]);
  return html`
    <header class="head">
      <div class="grow">
        ${back && html`<a class="back" href=${link(back.href)}>${back.label}</a>`}
        <h1 tabindex="-1">${title}</h1>
        ${about && html`<p class="about">${about}</p>`}
      </div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>
    ${children}
  `;
}

/** @param {{title?: any, actions?: any, children?: any, kind?: string, level?: number}} props */
export function Card({ title, actions, children, kind = "" }) {
  const id = useId();
  return html`
    <section class="card ${kind}" aria-labelledby=${title ? id : undefined}>
      ${title && html`<header class="cardhead"><h2 id=${id}>${title}</h2>${actions && html`<div class="actions">${actions}</div>`}</header>`}
      ${children}
    </section>
  `;
}

/** Names with values. @param {{items: ([string, any] | null | false | undefined)[]}} props */
export const Facts = ({ items }) => html`
  <dl class="facts">${items.map((item) => item && html`<div><dt>${item[0]}</dt><dd>${item[1]}</dd></div>`)}</dl>
`;

/** @param {{icon?: string, title: string, children?: any, actions?: any}} props */
export const Empty = ({ icon = "info", title, children, actions }) => html`
  <div class="empty">
    <span class="emptyicon"><${Icon} name=${icon} size=${24} /></span>
    <h2>${title}</h2>
    <div class="measure">${children}</div>
    ${actions && html`<div class="actions">${actions}</div>`}
  </div>
`;

/** What went wrong, in the words of the API. @param {{error: any, retry?: () => void, compact?: boolean}} props */
export function Failure({ error, retry, compact = false }) {
  if (!error || error.isCopy) return null;
  return html`
    <div class=${classes("failure", compact && "compact")} role="alert">
      <${Icon} name="warn" />
      <div class="grow">
        <p>${error.message}</p>
        ${error.requestId && html`<p class="small mute">Request <span class="mono">${error.requestId}</span></p>`}
      </div>
      ${retry && html`<${Button} icon="retry" onClick=${retry}>Try again<//>`}
    </div>
  `;
}

/** @param {{rows?: number}} props */
export const Skeleton = ({ rows = 5 }) => html`
  <div class="skeleton" role="status" aria-label="Loading">${Array.from({ length: rows }, (_, row) => html`<div key=${row}></div>`)}</div>
`;

/** What was loaded, or that it is being loaded, or why it cannot be. @param {{query: any, rows?: number, children: (data: any) => any}} props */
export function Loaded({ query, rows, children }) {
  if (query.data === undefined) {
    return query.error ? html`<${Failure} error=${query.error} retry=${query.refresh} />` : html`<${Skeleton} rows=${rows} />`;
  }
  return html`${query.error && html`<${Failure} compact error=${query.error} retry=${query.refresh} />`}${children(query.data)}`;
}

/** @param {{title: string, onClose: () => void, children?: any, footer?: any, wide?: boolean}} props */
export function Dialog({ title, onClose, children, footer, wide = false }) {
  const dialog = useRef(/** @type {any} */ (null));
  const id = useId();
  useLayoutEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    shown.showModal();
    // The first thing to fill in, rather than the button that closes.
    shown.querySelector(".dialogbody :is(input, textarea, select)")?.focus();
    return () => {
      shown.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  // A press on the backdrop is one on the dialog itself, outside of its box.
  const press = (event) => event.target === dialog.current && onClose();
  return html`
    <dialog ref=${dialog} class=${wide ? "wide" : ""} aria-labelledby=${id} onCancel=${cancel} onMouseDown=${press}>
      <div class="dialogbox">
        <header class="cardhead"><h2 id=${id}>${title}</h2><${IconButton} icon="cross" label="Close" onClick=${onClose} /></header>
        <div class="dialogbody">${children}</div>
        ${footer && html`<footer class="actions end"><${CopyAction} />${footer}</footer>`}
      </div>
    </dialog>
  `;
}

/**
 * A question before something that cannot be undone.
 * @param {{title: string, children?: any, label: string, danger?: boolean, act: () => Promise<any>, onClose: () => void}} props
 */
export function Confirm({ title, children, label, danger = false, act, onClose }) {
  const { busy, error, run } = useAction(() => act().then(onClose));
  const footer = html`
    <${Button} onClick=${onClose}>Keep it as it is<//>
    <${Button} kind=${danger ? "danger" : "primary"} busy=${busy} onClick=${run}>${label}<//>
  `;
  return html`<${Dialog} title=${title} onClose=${onClose} footer=${footer}>${children}<${Failure} compact error=${error} /><//>`;
}

/**
 * The commands that do what a page does.
 * @param {{items: {label: string, method: string, path: string, body?: any, query?: any}[]}} props
 */
export function Curl({ items }) {
  const [open, set] = useState(false);
  return html`
    <${Button} icon="terminal" onClick=${() => set(true)}>Copy as curl<//>
    ${open &&
    html`
      <${Dialog} title="The same with curl" wide onClose=${() => set(false)}>
        ${items.map(
          ({ label, method, path, body, query }) => html`
            <h3 class="labelled">${label}</h3>
            <${Code} wrap text=${curl(method, path, body, query)} label=${label} />
          `,
        )}
      <//>
    `}
  `;
}

/**
 * A labelled control. `children` is a function that gets the attributes of the control.
 * @param {{label: any, hint?: any, error?: string, wide?: boolean, children: (attributes: any) => any}} props
 */
export function Field({ label, hint, error, wide = false, children }) {
  const id = useId();
  const described = classes(hint && `${id}h`, error && `${id}e`) || undefined;
  return html`
    <div class=${classes("field", wide && "wide")}>
      <label for=${id}>${label}</label>
      ${children({ id, "aria-describedby": described, "aria-invalid": error ? "true" : undefined })}
      ${error && html`<p class="wrong" id=${`${id}e`}><${Icon} name="warn" size=${14} /> ${error}</p>`}
      ${hint && html`<p class="hint" id=${`${id}h`}>${hint}</p>`}
    </div>
  `;
}

/** @param {{label: any, checked: boolean, onChange: (checked: boolean) => void, hint?: any}} props */
export function Check({ label, checked, onChange, hint }) {
  const id = useId();
  return html`
    <div class="check">
      <input type="checkbox" id=${id} checked=${checked} onChange=${(event) => onChange(event.currentTarget.checked)} />
      <div><label for=${id}>${label}</label>${hint && html`<p class="hint">${hint}</p>`}</div>
    </div>
  `;
}

/** A choice of few. @param {{label: string, value: string, options: [string, any][], onChange: (value: string) => void}} props */
export const Segments = ({ label, value, options, onChange }) => html`
  <div class="segments" role="group" aria-label=${label}>
    ${options.map(
      ([key, text]) => html`<button type="button" key=${key} aria-pressed=${key === value} onClick=${() => onChange(key)}>${text}</button>`,
    )}
  </div>
`;

/** Scroll a tab into its row, which is narrower than all of them on a small screen. @param {Element | null} tab */
export function visible(tab) {
  if (tab?.parentElement) tab.parentElement.scrollLeft = /** @type {HTMLElement} */ (tab).offsetLeft - tab.parentElement.offsetLeft - 40;
}

/** Views of a page, each with an address. @param {{label: string, value: string, param: string, items: [string, any][]}} props */
export const Views = ({ label, value, param, items }) => html`
  <nav class="views" aria-label=${label}>
    ${items.map(([key, text]) => {
      const query = new URLSearchParams(here.value.query);
      if (key) query.set(param, key);
      else query.delete(param);
      const to = query.size ? `${here.value.path}?${query}` : here.value.path;
      const shown = key === value;
      return html`<a key=${key} href=${link(to)} aria-current=${shown ? "page" : undefined} ref=${shown ? visible : undefined}>${text}</a>`;
    })}
  </nav>
`;

/** A condition that can be taken away. @param {{name: string, value: any, onRemove: () => void}} props */
export const Chip = ({ name, value, onRemove }) => html`
  <span class="chip"><span class="mute">${name}</span> ${value}
    <button type="button" aria-label=${`Remove the filter ${name}`} title="Remove" onClick=${onRemove}><${Icon} name="cross" size=${12} /></button>
  </span>
`;

/**
 * A table. Columns: `title`, `cell(row)`, and `kind` ("num", "lo": hidden where there is little room).
 * @param {{label: string, columns: any[], rows: any[], id?: (row: any) => string, stale?: boolean}} props
 */
export const Table = ({ label, columns, rows, id = (row) => row.id, stale = false }) => {
  const shown = columns.filter(Boolean);
  return html`
    <div class=${classes("tablebox", stale && "stale")}>
      <table aria-label=${label} aria-busy=${stale || undefined}>
        <thead><tr>${shown.map(({ title, kind, unseen }) => html`<th scope="col" class=${kind}>${unseen ? html`<span class="unseen">${title}</span>` : title}</th>`)}</tr></thead>
        <tbody>${rows.map((row) => html`<tr key=${id(row)}>${shown.map(({ cell, kind }) => html`<td class=${kind}>${cell(row)}</td>`)}</tr>`)}</tbody>
      </table>
    </div>
  `;
};

/** The rest of a list. @param {{list: any, noun: string}} props */
const More = ({ list, noun }) => html`
  <${Failure} compact error=${list.more.error} />
  ${list.cursor
    ? html`<div class="center"><${Button} busy=${list.more.loading} onClick=${list.next}>Show more ${noun}<//></div>`
    : list.items.length > 20 && html`<p class="center mute small">That is all.</p>`}
`;

/** What came since, which waits until somebody wants to see it. @param {{list: any}} props */
const Fresh = ({ list }) => html`
  <div role="status" class="fresh">
    ${list.fresh.length > 0 &&
    html`<${Button} kind="primary pill" onClick=${list.show}>${list.fresh.length}${list.fresh.length >= 25 ? "+" : ""} new<//>`}
  </div>
`;

/**
 * A list in a card: what is new, its rows, and how to get more.
 * @param {{list: any, noun: string, empty: any, title?: string, actions?: any, after?: any, children?: any}} props `children`:
 *   the rows; `empty`: what is there without any; `after`: what follows the card.
 */
export const Listed = ({ list, noun, empty, title, actions, after, children }) => html`
  <${Fresh} list=${list} />
  <${Failure} error=${list.error} retry=${list.refresh} compact=${list.ready} />
  <${Card} kind="flush" title=${title} actions=${actions}>
    ${list.items.length > 0 && children}
    ${!list.ready && !list.error && html`<${Skeleton} rows=${8} />`}
    ${list.ready && !list.items.length && !list.stale && empty}
  <//>
  ${after}
  ${list.ready && html`<${More} list=${list} noun=${noun} />`}
`;

/** A share of a whole, in parts. @param {{label: string, total: number, parts: [string, number][]}} props */
export const Bar = ({ label, total, parts }) => html`
  <div class="bar" role="img" aria-label=${label}>
    ${parts.map(([tone, size]) => size > 0 && html`<span class=${tone} style=${{ width: `${(100 * size) / Math.max(total, 1)}%` }}></span>`)}
  </div>
`;

/**
 * A number, and the list behind it.
 * @param {{label: any, value: any, href?: string, note?: any, tone?: string}} props
 */
export const Tile = ({ label, value, href, note, tone = "" }) => {
  const inner = html`<span class="tilelabel">${label}</span><span class="tilevalue ${tone}">${value}</span><span class="tilenote">${note}</span>`;
  return href ? html`<a class="tile" href=${link(href)}>${inner}</a>` : html`<div class="tile">${inner}</div>`;
};

/** Small bars over time: what was delivered, and what failed. @param {{points: {delivered: number, failed: number}[], label: string}} props */
export function Spark({ points, label }) {
  const most = Math.max(1, ...points.map((point) => point.delivered + point.failed));
  const width = 100 / Math.max(points.length, 1);
  return html`
    <svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${label}>
      <line x1="0" x2="100" y1="23.5" y2="23.5" />
      ${points.map((point, index) => {
        const good = (23 * point.delivered) / most;
        const bad = point.failed && Math.max((23 * point.failed) / most, 2);
        const at = { x: index * width + width * 0.12, width: width * 0.76 };
        return html`
          ${good > 0 && html`<rect class="ok" ...${at} y=${23 - Math.max(good, 1.5)} height=${Math.max(good, 1.5)} />`}
          ${bad > 0 && html`<rect class="bad" ...${at} y=${Math.max(0, 23 - good - bad)} height=${bad} />`}
        `;
      })}
    </svg>
  `;
}

/**
 * A labelled input, or textarea. What is not listed goes to it.
 * @param {{label: any, hint?: any, error?: string, as?: string, [other: string]: any}} props
 */
export const Input = ({ label, hint, error, as = "input", ...more }) => html`
  <${Field} label=${label} hint=${hint} error=${error}>${(attributes) => html`<${as} autocomplete="off" spellcheck=${false} ...${attributes} ...${more} />`}<//>
`;

/** The choices of a select. @param {{value: string, options: [string, any][]}} props */
export const Options = ({ value, options }) => html`${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}`;

/** A labelled choice. @param {{label: any, hint?: any, error?: string, value: string, options: [string, any][], onChange: (event: any) => void}} props */
export const Select = ({ label, hint, error, value, options, onChange }) => html`
  <${Field} label=${label} hint=${hint} error=${error}>${(attributes) => html`<select ...${attributes} onChange=${onChange}><${Options} value=${value} options=${options} /></select>`}<//>
`;

/** A select that is part of the address. @param {{name: string, label: string, options: [string, string][]}} props */
export function QuerySelect({ name, label, options }) {
  const value = here.value.query.get(name) || "";
  return html`
    <select aria-label=${label} value=${value} onChange=${(event) => setQuery({ [name]: event.currentTarget.value, cursor: null })}>
      <${Options} value=${value} options=${options} />
    </select>
  `;
}

/** A text that is part of the address, once it is entered. @param {{name: string, label: string, placeholder?: string, list?: string}} props */
export function QueryText({ name, label, placeholder, list }) {
  const value = here.value.query.get(name) || "";
  const enter = (event) => setQuery({ [name]: event.currentTarget.value.trim(), cursor: null });
  return html`<input type="search" aria-label=${label} placeholder=${placeholder} value=${value} list=${list} onChange=${enter} autocomplete="off" spellcheck=${false} />`;
}
