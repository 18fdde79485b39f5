// A delivery: where it is and why, every attempt, and what can be done.
import { html, useMemo, useState } from "../../lib/html.js";
import { allowed, call, get, session, url } from "../../lib/api.js";
import { brief } from "../../lib/format.js";
import { link } from "../../lib/router.js";
import { Badge, Button, Card, Code, Confirm, Curl, Empty, Facts, Failure, Icon, Id, Loaded, Moment, Page, Segments, Time, toast } from "../../lib/ui.js";
import { useAction, useQuery } from "../../lib/query.js";
import { Subscription } from "../../lib/names.js";
import { Payload, Tags, exactPayload, loadEvent } from "../../lib/payload.js";
import { programs, signedBy, verify } from "../../lib/verify.js";
import { Attempt } from "../../lib/attempt.js";
import { AuditTable } from "../admin/entries.js";
import { DELIVERY, REASONS } from "../../lib/words.js";
import { DeliveryTable } from "./table.js";

const FINAL = ["delivered", "failed", "cancelled"];

/** A sentence of the API, its times as seen from now. @param {{text: string}} props */
export function Explained({ text }) {
  const parts = text.split(/(?:at )?(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z)/);
  return html`${parts.map((part, index) => (index % 2 ? html`<${Time} at=${part} />` : part))}`;
}

/** @param {{args: string[]}} props */
export default function DeliveryPage({ args: [id] }) {
  const [settled, settle] = useState(false);
  const query = useQuery(
    async (abort) => {
      const found = await get(`/api/v1/deliveries/${id}`, {}, abort);
      settle(FINAL.includes(found.status));
      return found;
    },
    [id],
    { every: settled ? 15_000 : 2000 },
  );
  const found = query.data;
  return html`
    <${Page} title=${found ? found.event_type || "Delivery" : "Delivery"} name=${found?.event_type ? `Delivery: ${found.event_type}` : "Delivery"}
      back=${{ href: "/deliveries", label: "Deliveries" }}
      about=${html`<${Id} value=${id} whole />`}
      actions=${found && html`<${Actions} delivery=${found} onChanged=${query.change} />`}>
      ${query.error?.status === 404
        ? html`<${Card}><${Empty} icon="search" title="This delivery was not found" actions=${html`<${Button} href=${link("/deliveries")}>Deliveries<//>`}><p>${query.error.message}. It may be older than what is kept.</p><//><//>`
        : html`<${Loaded} query=${query} rows=${8}>${(delivery) => html`<${Body} delivery=${delivery} onChanged=${query.refresh} />`}<//>`}
    <//>
  `;
}

/** @param {{delivery: Api.Delivery, onChanged: (delivery: Api.Delivery) => void}} props */
function Actions({ delivery, onChanged }) {
  const [cancelling, cancel] = useState(false);
  const path = `/api/v1/deliveries/${delivery.id}`;
  const retry = useAction(async () => {
    onChanged(await call("POST", `${path}/retry`));
    toast("The delivery will be sent again now");
  });
  const may = allowed("recover");
  const waits = ["pending", "scheduled"].includes(delivery.status);
  const busy = delivery.status === "in_flight";
  return html`
    ${may && html`<${Button} kind="primary" icon="retry" busy=${retry.busy} disabled=${busy || retry.busy} title=${busy ? "A worker is sending it" : undefined} data-retry-page onClick=${retry.run}>Retry now<//>`}
    ${may && waits && html`<${Button} icon="slash" onClick=${() => cancel(true)}>Cancel<//>`}
    <${Curl} items=${[
      { label: "Get the delivery", method: "GET", path },
      { label: "Retry it now", method: "POST", path: `${path}/retry` },
      { label: "Cancel it", method: "POST", path: `${path}/cancel` },
      { label: "Get the event with its payload", method: "GET", path: `/api/v1/events/${delivery.event_id}` },
    ]} />
    <${Failure} compact error=${retry.error} />
    ${cancelling &&
    html`
      <${Confirm} title="Cancel this delivery?" label="Cancel the delivery" danger onClose=${() => cancel(false)}
        act=${async () => {
          onChanged(await call("POST", `${path}/cancel`));
          toast("The delivery is cancelled");
        }}>
        <p>It is not sent again, unless somebody retries it.</p>
      <//>
    `}
  `;
}

/** @param {{delivery: Api.Delivery, onChanged: () => void}} props */
function Body({ delivery, onChanged }) {
  const event = useQuery((abort) => loadEvent(delivery.event_id, abort), [delivery.event_id]);
  const attempts = [...delivery.attempts].reverse();
  const same = (attempt) => attempt.error && url("/deliveries", { error_kind: attempt.error.kind, subscription_id: delivery.subscription_id });
  return html`
    <${Card}>
      <div class="status">
        <${Badge} look=${DELIVERY[delivery.status]} />
        <div class="grow"><p><${Explained} text=${delivery.explanation} /></p></div>
      </div>
      <${Facts}
        items=${[
          ["Subscription", html`<${Subscription} id=${delivery.subscription_id} />`],
          ["Event", html`<${Id} value=${delivery.event_id} href=${`/events/${delivery.event_id}`} />`],
          delivery.event_version && ["Version of the event", delivery.event_version],
          ["Accepted", html`<${Moment} at=${delivery.created_at} />`],
          delivery.next_attempt_at && ["Next attempt", html`<${Moment} at=${delivery.next_attempt_at} />`],
          delivery.completed_at && ["Ended", html`<${Moment} at=${delivery.completed_at} />`],
          delivery.expires_at && ["Fails if not delivered by", html`<${Moment} at=${delivery.expires_at} />`],
          delivery.reason && ["Reason", REASONS[delivery.reason] || delivery.reason],
          ["Attempts", delivery.attempt_count],
          delivery.trace_id && ["Trace", html`<${Id} value=${delivery.trace_id} />${session.value?.trace_url && html` <a href=${session.value.trace_url.replace("{trace_id}", delivery.trace_id)} target="_blank" rel="noreferrer">Open it</a>`}`],
          Object.keys(event.data?.tags || {}).length > 0 && ["Tags", html`<${Tags} tags=${event.data.tags} />`],
        ]}
      />
    <//>
    <${Card} title="Attempts">
      ${attempts.length
        ? html`<ol class="timeline" reversed>${attempts.map((attempt, index) => html`<li key=${attempt.number}><${Attempt} attempt=${attempt} open=${index === 0 && Boolean(attempt.error)} more=${same(attempt)} /></li>`)}</ol>`
        : html`<${Empty} icon="send" title="Not attempted yet"><p><${Explained} text=${delivery.explanation} /></p><//>`}
    <//>
    <${Card} title="Payload">
      <${Loaded} query=${event} rows=${3}>
        ${(data) => (data ? html`<${Payload} event=${data} />` : html`<p class="mute">The payload is no longer kept, so this delivery cannot be retried.</p>`)}
      <//>
    <//>
    ${event.data && !event.data.payload_withheld && html`<${Verify} delivery=${delivery} event=${event.data} />`}
    <${Siblings} delivery=${delivery} onChanged=${onChanged} />
    ${allowed("admin") && html`<${History} id=${delivery.id} />`}
  `;
}

/** @param {{delivery: Api.Delivery, event: any}} props */
function Verify({ delivery, event }) {
  const [language, choose] = useState("Python");
  const [secret, setSecret] = useState("");
  const [verdict, set] = useState(/** @type {any} */ (null));
  const attempt = delivery.attempts.findLast((one) => one.details?.request_headers.some(({ name }) => name.toLowerCase() === "webhook-signature"));
  const signed = useMemo(() => signedBy(attempt, exactPayload(event)), [attempt?.number, event.id]);
  if (!signed) {
    return html`
      <${Card} title="Verify the signature">
        <p class="mute measure">No attempt with recorded headers was signed. By default, only attempts that fail have details.</p>
      <//>
    `;
  }
  const check = async (submitted) => {
    submitted.preventDefault();
    try {
      const valid = await verify(signed, secret.trim());
      set(valid ? { tone: "ok", icon: "check", text: "The signature is valid: this secret has made it." } : { tone: "warn", icon: "warn", text: "This secret has not made the signature. Is it the secret of this subscription, or has it been rotated since?" });
    } catch (error) {
      set({ tone: "warn", icon: "warn", text: error instanceof Error && error.name === "Error" ? error.message : "This is not a secret: it begins with whsec_ or whpk_ and goes on in base64." });
    }
  };
  const shown = programs(signed);
  return html`
    <${Card} title="Verify the signature">
      <p class="mute measure">Of attempt ${attempt.number}. The secret stays in this browser, and is not sent anywhere.</p>
      <form class="filters" onSubmit=${check}>
        <input type="password" class="mono" aria-label="Secret or public key" placeholder="whsec_… or whpk_…" required autocomplete="off" value=${secret}
          onInput=${(input) => { setSecret(input.currentTarget.value); set(null); }} />
        <${Button} type="submit" icon="lock">Verify with my secret<//>
      </form>
      <div role="status">${verdict && html`<div class="note ${verdict.tone}"><${Icon} name=${verdict.icon} /><span>${verdict.text}</span></div>`}</div>
      <details>
        <summary>Verify it with a program</summary>
        <div class="stack">
          <div><${Segments} label="Language" value=${language} onChange=${choose} options=${Object.keys(shown).map((name) => [name, name])} /></div>
          <${Code} label=${`${language} program`} text=${shown[language]} />
        </div>
      </details>
    <//>
  `;
}

/** @param {{delivery: Api.Delivery, onChanged: () => void}} props */
function Siblings({ delivery, onChanged }) {
  const query = useQuery((abort) => get(`/api/v1/events/${delivery.event_id}/deliveries`, { limit: 20 }, abort), [delivery.event_id, delivery.status]);
  const others = query.data?.items.filter((item) => item.id !== delivery.id) || [];
  if (!others.length) return html`<${Failure} compact error=${query.error} retry=${query.refresh} />`;
  return html`
    <${Card} kind="flush" title="The event’s other deliveries">
      <${DeliveryTable} label="The event’s other deliveries" items=${others} onChanged=${() => { query.refresh(); onChanged(); }} />
      ${query.data.next_cursor && html`<p class="center"><a href=${link(`/events/${delivery.event_id}`)}>All of them</a></p>`}
    <//>
  `;
}

/** @param {{id: string}} props */
function History({ id }) {
  const query = useQuery((abort) => get("/api/v1/admin/audit", { resource_type: "delivery", resource_id: id, limit: 20 }, abort), [id]);
  if (!query.data?.items.length) return html`<${Failure} compact error=${query.error} />`;
  return html`<${Card} kind="flush" title="Audit"><${AuditTable} entries=${query.data.items} label=${`Changes to ${brief(id)}`} /><//>`;
}
