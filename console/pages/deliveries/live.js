// Live tail: deliveries as they are accepted, newest first, for as long as somebody looks.
import { html, useEffect, useRef, useState } from "../../lib/html.js";
import { get, tenant } from "../../lib/api.js";
import { brief, exact } from "../../lib/format.js";
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

export default function Live() {
  const [items, set] = useState(/** @type {any[]} */ ([]));
  const [state, setState] = useState({ error: /** @type {any} */ (null), ready: false, missed: false });
  const [paused, pause] = useState(false);
  const filter = { event_type: param("event_type"), subscription_id: param("subscription_id"), status: param("status") };
  const key = JSON.stringify([filter, tenant.value]);
  const newest = useRef("");
  useEffect(() => {
    newest.current = "";
    set([]);
    setState({ error: null, ready: false, missed: false });
  }, [key]);
  useEffect(() => {
    if (paused) return undefined;
    const control = new AbortController();
    let timer = 0;
    const turn = async () => {
      if (!document.hidden) {
        try {
          const from = new Date(Date.now() - 3_600_000).toISOString();
          const page = await get(PATH, { ...filter, from, limit: newest.current ? PAGE : 30 }, control.signal);
          const missed = Boolean(newest.current && page.items.length === PAGE && page.items[page.items.length - 1].id > newest.current);
          newest.current = page.items[0]?.id || newest.current;
          const known = new Set(page.items.map((item) => item.id));
          // Those of the page replace what was known of them: their states have changed.
          set((before) => [...page.items, ...before.filter((item) => !known.has(item.id) && (!filter.status || item.status === filter.status))].slice(0, MOST));
          setState({ error: null, ready: true, missed });
        } catch (error) {
          if (control.signal.aborted) return;
          setState((before) => ({ ...before, error }));
        }
      }
      if (!control.signal.aborted) timer = setTimeout(turn, EVERY_MS);
    };
    turn();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [key, paused]);
  return html`
    <${Page} title="Live tail" about="Deliveries of the last hour as they come in, looked at every second and a half."
      actions=${html`
        <${Button} kind=${paused ? "primary" : ""} icon=${paused ? "play" : "pause"} onClick=${() => pause(!paused)}>${paused ? "Go on" : "Pause"}<//>
        <${Button} icon="slash" onClick=${() => set([])}>Clear<//>
        <${Curl} items=${[{ label: "The newest deliveries", method: "GET", path: PATH, query: filter }]} />
      `}>
      <div class="filters">
        <${QueryText} name="event_type" label="Event type" placeholder="Type, such as order.*" />
        <${QuerySelect} name="subscription_id" label="Subscription" options=${[["", "Every subscription"], ...[...subscriptions().values()].map((one) => [one.id, nameOf(one)])]} />
        <${QuerySelect} name="status" label="State" options=${[["", "Every state"], ...Object.entries(DELIVERY).map(([state, look]) => [state, look.label])]} />
        <span class="small mute" role="status">${paused ? "Paused" : state.error ? "Cannot be reached" : "Live"}${state.missed ? " · more came in than is shown" : ""}</span>
      </div>
      <${Failure} error=${state.error} compact />
      <${Card} kind="flush">
        ${items.length > 0
          ? html`
              <${Table} label="Deliveries, newest first" rows=${items} columns=${[
                { title: "Accepted", cell: (item) => html`<span class="num nowrap">${exact(item.created_at)}</span>` },
                { title: "State", cell: (item) => html`<${Badge} look=${DELIVERY[item.status]} title=${item.explanation} />` },
                { title: "Event", cell: (item) => html`<a class="cellmain" data-row href=${link(`/deliveries/${item.id}`)}>${item.event_type || html`<span class="mono">${brief(item.id)}</span>`}</a>` },
                { title: "Subscription", kind: "lo", cell: (item) => html`<${Subscription} id=${item.subscription_id} />` },
                { title: "Attempts", kind: "num lo", cell: (item) => item.attempt_count },
                { title: "Last result", kind: "num lo", cell: (item) => html`<${Outcome} delivery=${item} />` },
              ]} />
            `
          : state.ready
            ? html`<${Empty} icon="live" title="Waiting for deliveries" actions=${html`<${Button} href=${link("/events?send=1")} icon="send">Send an event<//>${Object.values(filter).some(Boolean) && html`<${Button} onClick=${() => setQuery({ event_type: null, subscription_id: null, status: null })}>Remove the filters<//>`}`}><p>What is accepted from now on appears here by itself.</p><//>`
            : !state.error && html`<${Skeleton} />`}
      <//>
    <//>
  `;
}
