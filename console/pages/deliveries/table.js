// Deliveries in a list, and what can be done to some of them.
import { html, useState } from "../../lib/html.js";
import { allowed, call } from "../../lib/api.js";
import { brief, plural } from "../../lib/format.js";
import { link } from "../../lib/router.js";
import { Badge, Button, Confirm, Failure, IconButton, Table, Time, toast } from "../../lib/ui.js";
import { Subscription } from "../../lib/names.js";
import { useAction } from "../../lib/query.js";
import { DELIVERY, HOLDS, REASONS, errorName } from "../../lib/words.js";

/** What came of a delivery last, in few words. @param {{delivery: Api.DeliverySummary}} props */
export function Outcome({ delivery }) {
  const { status, held_by: held, last_status_code: code, last_error_kind: kind, reason } = delivery;
  if (held) return html`<span class="tone-warn">${HOLDS[held] || held}</span>`;
  if (status === "delivered") return html`<span class="mute">2xx</span>`;
  const last = code ? html`<span class="num">${code}</span>` : kind && errorName(kind);
  if (reason && reason !== "retries_exhausted") return html`${REASONS[reason] || reason}`;
  return last || html`<span class="mute">–</span>`;
}

/** When the next thing happens to a delivery, or when it ended. @param {{delivery: Api.DeliverySummary}} props */
const Next = ({ delivery }) => {
  if (delivery.completed_at) return html`<span class="mute">ended <${Time} at=${delivery.completed_at} /></span>`;
  if (delivery.status === "scheduled" && delivery.next_attempt_at && Date.parse(delivery.next_attempt_at) > Date.now()) return html`<span class="mute">next <${Time} at=${delivery.next_attempt_at} /></span>`;
  return html`<span class="mute">${delivery.status === "in_flight" ? "being sent" : "due"}</span>`;
};

/**
 * @param {{items: Api.DeliverySummary[], stale?: boolean, label?: string, without?: string, onChanged?: (delivery: Api.Delivery) => void}} props
 *   `without`: a column that would say the same in each row.
 */
export function DeliveryTable({ items, stale, label = "Deliveries", without = "", onChanged }) {
  const [chosen, setChosen] = useState(/** @type {Set<string>} */ (new Set()));
  const [cancelling, cancel] = useState(false);
  const may = allowed("recover") && Boolean(onChanged);
  const change = async (verb, ids) => {
    const failures = [];
    let done = 0;
    for (const id of ids) {
      try {
        onChanged?.(await call("POST", `/api/v1/deliveries/${id}/${verb}`));
        done += 1;
      } catch (problem) {
        failures.push(problem);
      }
    }
    if (done) toast(`${plural(done, "delivery", "deliveries")} ${verb === "retry" ? "will be sent again now" : "cancelled"}`);
    if (failures.length) throw failures.length === 1 || failures[0].isCopy ? failures[0] : new Error(`${failures.length} were refused. The first: ${failures[0].message}`);
    setChosen(new Set());
  };
  const act = useAction(change);
  const choose = (id, on) => {
    const next = new Set(chosen);
    if (on) next.add(id);
    else next.delete(id);
    setChosen(next);
  };
  const visible = items.filter((item) => chosen.has(item.id)).map((item) => item.id);
  const columns = [
    may && {
      title: html`<input type="checkbox" aria-label="Choose all" checked=${visible.length === items.length} onChange=${(event) => setChosen(new Set(event.currentTarget.checked ? items.map((item) => item.id) : []))} />`,
      kind: "pick",
      cell: (item) => html`<input type="checkbox" aria-label=${`Choose the delivery ${brief(item.id)}`} checked=${chosen.has(item.id)} onChange=${(event) => choose(item.id, event.currentTarget.checked)} />`,
    },
    { title: "State", cell: (item) => html`<${Badge} look=${DELIVERY[item.status]} title=${item.explanation} />` },
    {
      title: "Event",
      cell: (item) => html`
        <a class="cellmain" data-row href=${link(`/deliveries/${item.id}`)}>${item.event_type || "no type"}</a>${item.event_version && html` <span class="mute">v${item.event_version}</span>`}
        <div class="cellsub mono" title=${item.id}>${brief(item.id)}</div>
      `,
    },
    without !== "subscription" && { title: "Subscription", kind: "lo", cell: (item) => html`<${Subscription} id=${item.subscription_id} />` },
    { title: "Attempts", kind: "num lo", cell: (item) => item.attempt_count },
    { title: "Last result", kind: "lo", cell: (item) => html`<${Outcome} delivery=${item} /><div class="cellsub"><${Next} delivery=${item} /></div>` },
    { title: "Accepted", kind: "num", cell: (item) => html`<${Time} at=${item.created_at} />` },
    may && {
      title: "Actions",
      unseen: true,
      kind: "num lo",
      cell: (item) =>
        !["in_flight", "pending"].includes(item.status) &&
        html`<${IconButton} icon="retry" label=${`Retry the delivery ${brief(item.id)}`} data-retry onClick=${() => act.run("retry", [item.id])} />`,
    },
  ];
  return html`
    <${Failure} compact error=${act.error} />
    <${Table} label=${label} columns=${columns} rows=${items} stale=${stale} />
    ${visible.length > 0 &&
    html`
      <div class="chosen" role="region" aria-label="Chosen deliveries">
        <span class="strong">${plural(visible.length, "delivery", "deliveries")} chosen</span>
        <${Button} icon="retry" kind="primary" busy=${act.busy} onClick=${() => act.run("retry", visible)}>Retry<//>
        <${Button} icon="slash" busy=${act.busy} onClick=${() => cancel(true)}>Cancel<//>
        <${Button} kind="quiet" onClick=${() => setChosen(new Set())}>Choose none<//>
      </div>
    `}
    ${cancelling &&
    html`
      <${Confirm} title="Cancel the chosen deliveries?" label="Cancel them" danger onClose=${() => cancel(false)} act=${() => change("cancel", visible)}>
        <p>They are not sent again, unless somebody retries them.</p>
      <//>
    `}
  `;
}
