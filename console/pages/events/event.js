// An event: its payload, who got it, and who did not and why.
import { html, useState } from "../../lib/html.js";
import { allowed, call, get } from "../../lib/api.js";
import { bytes, duration, plural } from "../../lib/format.js";
import { go, link } from "../../lib/router.js";
import { Badge, Button, Card, Confirm, Curl, Empty, Facts, Id, Listed, Loaded, Moment, Page, Table, toast } from "../../lib/ui.js";
import { useList, useQuery } from "../../lib/query.js";
import { Subscription } from "../../lib/names.js";
import { Payload, Tags, loadEvent } from "../../lib/payload.js";
import { ROUTING } from "../../lib/words.js";
import { DeliveryTable } from "../deliveries/table.js";

/** @param {{args: string[]}} props */
export default function EventPage({ args: [id] }) {
  const path = `/api/v1/events/${id}`;
  const query = useQuery((abort) => loadEvent(id, abort), [id]);
  const [asking, ask] = useState(false);
  const [cancelling, cancel] = useState(false);
  const event = query.data;
  // The payload as it was written: a browser that read and wrote it again would change its numbers.
  const kept = event && Object.entries({ event_type: event.event_type, tags: event.tags }).filter(([, value]) => value && Object.keys(value).length);
  const body = event?.raw && `{${kept.map(([name, value]) => `"${name}": ${JSON.stringify(value)}, `).join("")}"payload": ${event.raw}}`;
  return html`
    <${Page} title=${event?.event_type || "Event"} name=${event?.event_type ? `Event: ${event.event_type}` : "Event"} back=${{ href: "/events", label: "Events" }} about=${html`<${Id} value=${id} whole />`}
      actions=${event &&
      html`
        ${allowed("recover") && event.scheduled && html`<${Button} icon="slash" onClick=${() => cancel(true)}>Cancel<//>`}
        ${allowed("write") && body && html`<${Button} kind="primary" icon="send" onClick=${() => ask(true)}>Send again<//>`}
        <${Curl} items=${[
          { label: "Get the event", method: "GET", path },
          { label: "Its deliveries", method: "GET", path: `${path}/deliveries` },
          { label: "Who got it, and why not", method: "GET", path: `${path}/routing` },
          ...(event.scheduled ? [{ label: "Cancel it", method: "POST", path: `${path}/cancel` }] : []),
          ...(body ? [{ label: "Send it again as a new event", method: "POST", path: "/api/v1/events", body }] : []),
        ]} />
      `}>
      ${event === null
        ? html`<${Card}><${Empty} icon="search" title="This event was not found" actions=${html`<${Button} href=${link("/events")}>Events<//>`}><p>It may be older than what is kept, or was erased.</p><//><//>`
        : html`
            <${Loaded} query=${query} rows=${6}>
              ${(found) => html`
                <${Card}>
                  <${Facts} items=${[
                    ["Type", found.event_type || html`<span class="mute">none</span>`],
                    found.event_version && ["Version", found.event_version],
                    ["Accepted", html`<${Moment} at=${found.created_at} />`],
                    found.scheduled && ["Due", html`<${Moment} at=${found.deliver_at} />`],
                    found.scheduled && found.deliver_within_seconds && ["Expires", `${duration(found.deliver_within_seconds)} after it is due`],
                    ["Content type", found.content_type],
                    ["Size", bytes(found.payload_bytes)],
                    found.expanding && ["Deliveries", "are still being created"],
                    Object.keys(found.tags || {}).length > 0 && ["Tags", html`<${Tags} tags=${found.tags} />`],
                  ]} />
                <//>
                ${found.cloudevent && html`<${Card} title="Attributes of the CloudEvent"><${Facts} items=${Object.entries(found.cloudevent).map(([name, value]) => [name, html`<span class="mono">${String(value)}</span>`])} /><//>`}
                ${found.relayed_headers && html`<${Card} title="Relayed headers of the provider"><${Facts} items=${Object.entries(found.relayed_headers).map(([name, value]) => [name, html`<span class="mono">${value}</span>`])} /><//>`}
                <${Card} title="Payload"><${Payload} event=${found} /><//>
                ${found.scheduled
                  ? html`<${Card} title="Deliveries"><${Empty} icon="clock" title="Not due yet"><p>When it is due, it goes to every subscription that wants it then.</p><//><//>`
                  : html`<${Deliveries} path=${path} />`}
                <${Routing} path=${path} />
              `}
            <//>
          `}
      ${cancelling &&
      html`
        <${Confirm} title="Cancel this event?" label="Cancel the event" danger onClose=${() => cancel(false)}
          act=${async () => {
            await call("POST", `${path}/cancel`);
            toast("The event is cancelled");
            go("/events?scheduled=true");
          }}>
          <p>It is deleted, and never delivered. This cannot be undone.</p>
        <//>
      `}
      ${asking &&
      html`
        <${Confirm} title="Send this event again?" label="Send again" onClose=${() => ask(false)}
          act=${async () => {
            const made = await call("POST", "/api/v1/events", { body });
            toast(made.expanding ? "Accepted: its deliveries are being created" : `Accepted: it goes to ${plural(made.deliveries ?? 0, "subscription")}`);
            go(`/events/${made.event_id}`);
          }}>
          <p>A new event with the same type, tags, and payload goes to every subscription that wants it now. Receivers get another <span class="mono">webhook-id</span>. To repeat one delivery, retry it instead.</p>
        <//>
      `}
    <//>
  `;
}

/** @param {{path: string}} props */
function Deliveries({ path }) {
  const list = useList((cursor, abort) => get(`${path}/deliveries`, { limit: 25, cursor }, abort), [path], { every: 3000 });
  return html`
    <${Listed} list=${{ ...list, fresh: [] }} noun="deliveries" title="Deliveries" empty=${html`<${Empty} icon="hook" title="It went to nobody"><p>No subscription wanted its type when it was accepted. Below is why.</p><//>`}>
      <${DeliveryTable} label="Deliveries of the event" items=${[...list.items, ...list.fresh]} onChanged=${list.replace} />
    <//>
  `;
}

/** @param {{path: string}} props */
function Routing({ path }) {
  const list = useList(async (cursor, abort) => {
    const page = await get(`${path}/routing`, { limit: 25, cursor }, abort);
    return { ...page, items: page.items.map((item) => ({ ...item, id: item.subscription_id })) };
  }, [path]);
  return html`
    <${Listed} list=${list} noun="subscriptions" title="Who got it, and why not" empty=${html`<${Empty} icon="hook" title="There are no subscriptions" actions=${allowed("create") && html`<${Button} href=${link("/subscriptions/new")} icon="plus">New subscription<//>`}><p>Events are kept, but go nowhere.</p><//>`}>
      <${Table} label="Routing" rows=${list.items} columns=${[
        { title: "Subscription", cell: (item) => html`<${Subscription} id=${item.subscription_id} />` },
        { title: "Got it", cell: (item) => html`<${Badge} look=${item.routed ? { tone: "ok", icon: "check", label: "Yes" } : { tone: "mute", icon: "slash", label: "No" }} />` },
        { title: "Why", kind: "why", cell: (item) => html`<span class="cellmain">${ROUTING[item.reason] || item.reason}</span><div class="cellsub">${item.explanation}</div>` },
        { title: "Delivery", kind: "lo", cell: (item) => (item.delivery_id ? html`<${Id} value=${item.delivery_id} href=${`/deliveries/${item.delivery_id}`} />` : html`<span class="mute">–</span>`) },
      ]} />
    <//>
  `;
}
