// Search events, and send one.
import { html, useMemo, useState } from "../../lib/html.js";
import { allowed, call, curl, download, get } from "../../lib/api.js";
import { absolute, brief, bytes, iso, plural } from "../../lib/format.js";
import { go, here, link, param, setQuery } from "../../lib/router.js";
import { Badge, Button, Curl, Dialog, Empty, Failure, Input, Listed, Moment, Page, QuerySelect, QueryText, Table, Time, toast } from "../../lib/ui.js";
import { useAction, useList } from "../../lib/query.js";

const PATH = "/api/v1/events";
const PERIODS = { "1h": 3600, "24h": 86400, "7d": 7 * 86400 };
const NAMES = ["event_type", "idempotency_key", "provider_id", "tag", "from", "to", "order", "scheduled"];

export default function Events() {
  const query = here.value.query;
  const filter = useMemo(() => {
    const found = Object.fromEntries(NAMES.filter((name) => query.get(name)).map((name) => [name, query.getAll(name)]));
    const since = query.get("since");
    // What is due next comes first.
    if (found.scheduled) return { ...found, order: found.order || ["oldest"] };
    if (!found.from && since) found.from = [iso(since === "all" ? 0 : Date.now() - (PERIODS[since] || PERIODS["24h"]) * 1000)];
    return found;
  }, [query.toString()]);
  const key = JSON.stringify(filter);
  const list = useList((cursor, abort) => get(PATH, { ...filter, limit: 25, cursor }, abort), [key], { every: filter.order ? 0 : 4000 });
  const save = useAction(() => download(PATH, { ...filter, format: "ndjson" }, "events.ndjson"));
  const sending = param("send") === "1";
  const waiting = param("scheduled") === "true";
  const narrowed = NAMES.some((name) => param(name));
  return html`
    <${Page} title="Events" about="What was accepted, to go to every subscription that wants its type."
      actions=${html`
        ${allowed("write") && html`<${Button} kind="primary" icon="send" onClick=${() => setQuery({ send: "1" })}>Send an event<//>`}
        <${Button} icon="download" busy=${save.busy} onClick=${save.run}>NDJSON<//>
        <${Curl} items=${[
          { label: "Search", method: "GET", path: PATH, query: filter },
          { label: "Send an event", method: "POST", path: PATH, body: { event_type: "order.created", payload: { order: 42 } } },
        ]} />
      `}>
      <div class="filters">
        <${QuerySelect} name="scheduled" label="Which" options=${[["", "Accepted"], ["true", "Scheduled"]]} />
        ${!waiting && html`<${QuerySelect} name="since" label="Period" options=${[["", param("from") ? "From the filter" : "Last 24 hours"], ["1h", "Last hour"], ["7d", "Last 7 days"], ["all", "Any time"]]} />`}
        <${QueryText} name="event_type" label="Event type" placeholder="Type, such as order.*" />
        <${QueryText} name="tag" label="Tag" placeholder="Tag, such as order=42" />
        <${QueryText} name="idempotency_key" label="Idempotency key" placeholder="Idempotency key" />
        <${QueryText} name="provider_id" label="Id of the provider" placeholder="Id of the provider" />
        ${narrowed && html`<${Button} kind="quiet" onClick=${() => go("/events")}>Remove the filters<//>`}
      </div>
      <${Failure} error=${save.error} compact />
      <${Listed} list=${list} noun="events"
        after=${list.page?.scanned_to && html`<p class="small mute center">Searched back to ${absolute(list.page.scanned_to)}. “Show more” goes on from there.</p>`}
        empty=${html`
          <${Empty} icon="inbox" title=${waiting ? "Nothing is scheduled" : narrowed ? "No event matches" : "No events yet"}
            actions=${html`
              ${param("since") !== "all" && !waiting && html`<${Button} onClick=${() => setQuery({ since: "all", from: null, to: null })}>Search any time<//>`}
              ${!narrowed && allowed("write") && html`<${Button} kind="primary" icon="send" onClick=${() => setQuery({ send: "1" })}>Send an event<//>`}
            `}>
            ${waiting ? html`<p>Events with <span class="mono">deliver_at</span> or <span class="mono">delay_seconds</span> are here until they are due.</p>` : narrowed ? html`<p>Searched from ${list.page?.from ? absolute(list.page.from).slice(0, 17) : "the beginning"}. Keys and ids of providers are kept for a day by default.</p>` : html`<p>Send the first one here, or with curl:</p><pre class="wrap">${curl("POST", PATH, { event_type: "order.created", payload: { order: 42 } })}</pre>`}
          <//>
        `}>
        <${Table} label="Events" rows=${list.items} stale=${list.stale} columns=${[
          { title: "Event", cell: (item) => html`<a class="cellmain" data-row href=${link(`/events/${item.id}`)}>${item.event_type || "no type"}</a>${item.event_version && html` <span class="mute">v${item.event_version}</span>`}<div class="cellsub mono" title=${item.id}>${brief(item.id)}</div>` },
          { title: "Content type", kind: "lo", cell: (item) => html`${item.content_type}${item.content_encoding ? ` · ${item.content_encoding}` : ""}` },
          { title: "Size", kind: "num", cell: (item) => bytes(item.payload_bytes) },
          { title: "Deliveries", kind: "lo", cell: (item) => (item.scheduled ? html`<${Badge} look=${{ tone: "info", icon: "clock", label: "Scheduled" }} />` : item.expanding ? html`<${Badge} look=${{ tone: "info", icon: "dots", label: "Being created" }} />` : html`<span class="mute">created</span>`) },
          waiting && { title: "Due", kind: "num", cell: (item) => html`<${Moment} at=${item.deliver_at} />` },
          { title: "Accepted", kind: "num", cell: (item) => html`<${Time} at=${item.created_at} />` },
        ]} />
      <//>
      ${sending && html`<${Send} onClose=${() => setQuery({ send: null })} onSent=${list.refresh} />`}
    <//>
  `;
}

/** @param {{onClose: () => void, onSent: () => void}} props */
function Send({ onClose, onSent }) {
  const [value, set] = useState({ type: "order.created", payload: '{\n  "order": 42\n}', key: "" });
  const put = (name) => (event) => set({ ...value, [name]: event.currentTarget.value });
  // The payload is put in as it was written, so that numbers keep their spelling.
  const body = `{${value.type ? `"event_type": ${JSON.stringify(value.type)}, ` : ""}"payload": ${value.payload.trim()}}`;
  const send = useAction(async () => {
    try {
      JSON.parse(value.payload);
    } catch (error) {
      throw new Error(`The payload is not JSON: ${error instanceof Error ? error.message : error}`);
    }
    const made = await call("POST", PATH, { body, headers: value.key ? { "Idempotency-Key": value.key } : {} });
    toast(made.expanding ? "Accepted: its deliveries are being created" : `Accepted: it goes to ${plural(made.deliveries ?? 0, "subscription")}`);
    onSent();
    go(`/events/${made.event_id}`);
  });
  const submit = (event) => {
    event.preventDefault();
    send.run();
  };
  const footer = html`<${Button} onClick=${onClose}>Close<//><${Button} kind="primary" type="submit" form="send" icon="send" busy=${send.busy}>Send<//>`;
  return html`
    <${Dialog} title="Send an event" wide onClose=${onClose} footer=${footer}>
      <form id="send" class="stack" onSubmit=${submit}>
        <div class="pair">
          <${Input} label="Event type" error=${send.error?.of?.("event_type")} class="mono" value=${value.type} onInput=${put("type")} />
          <${Input} label="Idempotency key (optional)" hint="The same key sends the event only once." value=${value.key} onInput=${put("key")} />
        </div>
        <${Input} as="textarea" label="Payload" error=${send.error?.of?.("payload")} required value=${value.payload} onInput=${put("payload")} />
      </form>
      <${Failure} compact error=${send.error} />
    <//>
  `;
}
