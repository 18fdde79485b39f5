// Live tail: deliveries as workers record them, newest first, for as long as somebody looks.
import { html, useEffect, useRef, useState } from "../../lib/html.js";
import { get, tenant } from "../../lib/api.js";
import { brief, count, exact, iso } from "../../lib/format.js";
import { follow } from "../../lib/live.js";
import { link, param, setQuery } from "../../lib/router.js";
import { Badge, Button, Card, Curl, Empty, Failure, Page, QuerySelect, QueryText, Skeleton, Table } from "../../lib/ui.js";
import { Subscription, nameOf, subscriptions } from "../../lib/names.js";
import { DELIVERY } from "../../lib/words.js";
import { Outcome } from "./table.js";

const PATH = "/api/v1/deliveries";
const EVERY_MS = 1500;
// More would slow the page down, and nobody reads so fast.
const MOST = 200;
const PAGE = 100;

/** A recorded delivery as lists have one. @param {any} one */
const listed = (one) => ({ ...one, id: one.delivery_id, last_status_code: one.status === "delivered" ? null : one.status_code, last_error_kind: one.error_kind });

/** When it was recorded last; of one in a list that has not ended, when it was accepted. @param {any} one */
const recorded = (one) => one.recorded_at || one.completed_at || one.created_at;

export default function Live() {
  const [items, set] = useState(/** @type {any[]} */ ([]));
  const [fresh, gather] = useState(/** @type {any[]} */ ([]));
  const [state, setState] = useState({ error: /** @type {any} */ (null), ready: false, live: /** @type {boolean | null} */ (null), missed: 0 });
  const [paused, pause] = useState(false);
  const filter = { event_type: param("event_type"), subscription_id: param("subscription_id"), status: param("status") };
  const key = JSON.stringify([filter, tenant.value]);
  const wanted = useRef(/** @type {(one: any) => boolean} */ (() => true));
  wanted.current = (one) =>
    (!filter.status || one.status === filter.status) &&
    (!filter.subscription_id || one.subscription_id === filter.subscription_id) &&
    (!filter.event_type || (filter.event_type.endsWith(".*") ? one.event_type?.startsWith(filter.event_type.slice(0, -1)) : one.event_type === filter.event_type));
  const add = (all) => {
    const found = all.filter((item) => !items.some((one) => one.id === item.id && one.status === item.status && one.attempt_count === item.attempt_count));
    const ids = new Set(found.map((item) => item.id));
    const put = (before) => [...found, ...before.filter((item) => !ids.has(item.id))].slice(0, MOST);
    // Who reads further down, or has paused, is not interrupted.
    if (paused || scrollY > 200) gather(put);
    else set(put);
  };
  // Lists have what was recorded before the page was cleared, too.
  const cleared = useRef("");
  const latest = useRef(add);
  latest.current = add;
  const load = async (abort) => {
    try {
      const from = iso(Date.now() - 3_600_000);
      const page = await get(PATH, { ...filter, from, limit: PAGE }, abort);
      setState((before) => ({ ...before, error: null, ready: true }));
      return page.items.filter((one) => recorded(one) > cleared.current).sort((a, b) => (recorded(a) < recorded(b) ? 1 : -1));
    } catch (error) {
      if (!abort.aborted) setState((before) => ({ ...before, error }));
      return [];
    }
  };
  const loading = useRef(load);
  loading.current = load;
  useEffect(() => {
    const control = new AbortController();
    cleared.current = "";
    set([]);
    gather([]);
    load(control.signal).then((found) => control.signal.aborted || set(found));
    return () => control.abort();
  }, [key]);
  useEffect(() => {
    const control = new AbortController();
    // Workers find out within a second that somebody watches; what they recorded until then is in the list.
    const again = () => setTimeout(async () => control.signal.aborted || latest.current(await loading.current(control.signal)), EVERY_MS);
    const end = follow((message) => {
      if (message.items) latest.current(message.items.filter(wanted.current).map(listed).reverse());
      if (message.live || message.reset) again();
      setState((before) => ({ ...before, live: message.live ?? before.live, missed: before.missed + (message.dropped || 0) }));
    });
    return () => {
      control.abort();
      end();
    };
  }, [tenant.value]);
  useEffect(() => {
    if (state.live !== false || paused) return undefined;
    const control = new AbortController();
    const timer = setInterval(async () => {
      if (!document.hidden) latest.current(await load(control.signal));
    }, EVERY_MS);
    return () => {
      control.abort();
      clearInterval(timer);
    };
  }, [key, state.live, paused]);
  const show = () => {
    set((before) => [...fresh, ...before.filter((item) => !fresh.some((one) => one.id === item.id))].slice(0, MOST));
    gather([]);
    scrollTo(0, 0);
  };
  const said = paused ? "Paused" : state.error ? "Cannot be reached" : state.live === false ? "Looked at every second and a half: without Redis nothing is streamed" : "Live";
  return html`
    <${Page} title="Live tail" about="Deliveries as workers record them, after those of the last hour."
      actions=${html`
        <${Button} kind=${paused ? "primary" : ""} icon=${paused ? "play" : "pause"} onClick=${() => { pause(!paused); if (paused) show(); }}>${paused ? "Go on" : "Pause"}<//>
        <${Button} icon="slash" onClick=${() => { cleared.current = [...items, ...fresh].map(recorded).sort().pop() || cleared.current; set([]); gather([]); }}>Clear<//>
        <${Curl} items=${[{ label: "Watch", method: "GET", path: "/api/v1/stream", query: { topic: "deliveries", ...filter } }, { label: "The newest deliveries", method: "GET", path: PATH, query: filter }]} />
      `}>
      <div class="filters">
        <${QueryText} name="event_type" label="Event type" placeholder="Type, such as order.*" />
        <${QuerySelect} name="subscription_id" label="Subscription" options=${[["", "Every subscription"], ...[...subscriptions().values()].map((one) => [one.id, nameOf(one)])]} />
        <${QuerySelect} name="status" label="State" options=${[["", "Every state"], ...Object.entries(DELIVERY).map(([name, look]) => [name, look.label])]} />
        <span class="small mute" role="status">${said}${state.missed ? ` · ${count(state.missed)} more came in than can be shown` : ""}</span>
      </div>
      <div class="fresh">${fresh.length > 0 && html`<${Button} kind="primary pill" onClick=${show}>${count(fresh.length)}${fresh.length === MOST ? "+" : ""} new<//>`}</div>
      <${Failure} error=${state.error} compact />
      <${Card} kind="flush">
        ${items.length > 0
          ? html`
              <${Table} label="Deliveries, newest first" rows=${items} columns=${[
                { title: "Recorded", cell: (item) => html`<span class="num nowrap">${exact(recorded(item))}</span>` },
                { title: "State", cell: (item) => html`<${Badge} look=${DELIVERY[item.status]} title=${item.explanation} />` },
                { title: "Event", cell: (item) => html`<a class="cellmain" data-row href=${link(`/deliveries/${item.id}`)}>${item.event_type || html`<span class="mono">${brief(item.id)}</span>`}</a>` },
                { title: "Subscription", kind: "lo", cell: (item) => html`<${Subscription} id=${item.subscription_id} />` },
                { title: "Attempts", kind: "num lo", cell: (item) => item.attempt_count },
                { title: "Last result", kind: "num lo", cell: (item) => html`<${Outcome} delivery=${item} />` },
              ]} />
            `
          : state.ready
            ? html`<${Empty} icon="live" title="Waiting for deliveries" actions=${html`<${Button} href=${link("/events?send=1")} icon="send">Send an event<//>${Object.values(filter).some(Boolean) && html`<${Button} onClick=${() => setQuery({ event_type: null, subscription_id: null, status: null })}>Remove the filters<//>`}`}><p>What is attempted from now on appears here by itself.</p><//>`
            : !state.error && html`<${Skeleton} />`}
      <//>
    <//>
  `;
}
