// A subscription: how it is, its deliveries, settings, signing, what comes in for it, and a test.
import { html, useState } from "../../lib/html.js";
import { allowed, call, get, send, url } from "../../lib/api.js";
import { iso, plural } from "../../lib/format.js";
import { go, link, param } from "../../lib/router.js";
import { Badge, Button, Card, Confirm, Curl, Empty, Facts, Failure, Icon, Id, Listed, Loaded, Moment, Page, Skeleton, Tile, Time, Views, toast } from "../../lib/ui.js";
import { useAction, useList, useQuery } from "../../lib/query.js";
import { nameOf } from "../../lib/names.js";
import { Outcomes } from "../../lib/chart.js";
import { Ended, Median } from "../../lib/totals.js";
import { Schedule } from "../../lib/schedule.js";
import { AuditTable } from "../admin/entries.js";
import { DeliveryTable } from "../deliveries/table.js";
import { Recover } from "../deliveries/recover.js";
import { BREAKER, SUBSCRIPTION } from "../../lib/words.js";
import { Settings } from "./settings.js";
import { Signing } from "./signing.js";
import { Receiving } from "./receiving.js";
import { Test } from "./test.js";
import { Types } from "./list.js";

const DAY_MS = 86_400_000;

/** @param {{args: string[]}} props */
export default function SubscriptionPage({ args: [id] }) {
  const path = `/api/v1/subscriptions/${id}`;
  const query = useQuery(
    async (abort) => {
      const response = await send("GET", path, { signal: abort });
      return { ...(await response.json()), etag: response.headers.get("etag") };
    },
    [id],
    { every: param("view") === "settings" ? 0 : 5000 },
  );
  const found = query.data;
  const view = param("view");
  if (query.error?.status === 404) {
    return html`
      <${Page} title="Subscription" back=${{ href: "/subscriptions", label: "Subscriptions" }} about=${html`<${Id} value=${id} whole />`}>
        <${Card}><${Empty} icon="search" title="This subscription does not exist, or is deleted"
          actions=${html`<${Button} href=${link(`/deliveries?subscription_id=${id}`)}>Its deliveries<//>`}><p>What was delivered to it stays readable while it is kept.</p><//><//>
      <//>
    `;
  }
  return html`
    <${Page} title=${found ? nameOf(found) : "Subscription"} back=${{ href: "/subscriptions", label: "Subscriptions" }}
      about=${html`<${Id} value=${id} whole />`}
      actions=${found && html`<${Actions} subscription=${found} path=${path} onChanged=${query.refresh} />`}>
      <${Loaded} query=${query} rows=${8}>
        ${(subscription) => html`
          <${State} subscription=${subscription} />
          <${Views} label="Views" param="view" value=${view} items=${[
            ["", "Overview"],
            ["deliveries", "Deliveries"],
            ["settings", "Settings"],
            ["signing", "Signing"],
            ["inbound", "Inbound"],
            .../** @type {[string, string][]} */ (subscription.destination === "pull" ? [] : [["test", "Test"]]),
          ]} />
          ${view === "deliveries"
            ? html`<${Deliveries} id=${id} />`
            : view === "settings"
              ? html`<${Settings} subscription=${subscription} path=${path} onChanged=${query.refresh} />`
              : view === "signing"
                ? html`<${Signing} subscription=${subscription} path=${path} onChanged=${query.refresh} />`
                : view === "inbound"
                  ? html`<${Receiving} subscription=${subscription} path=${path} onChanged=${query.refresh} />`
                  : view === "test"
                    ? html`<${Card} title="Test"><${Test} subscription=${subscription} path=${path} /><//>`
                    : html`<${Overview} subscription=${subscription} path=${path} />`}
        `}
      <//>
    <//>
  `;
}

/** @param {{subscription: Api.Subscription, path: string, onChanged: () => void}} props */
function Actions({ subscription, path, onChanged }) {
  const [asking, ask] = useState("");
  const act = useAction(async (verb, said) => {
    await call("POST", `${path}/${verb}`);
    toast(said);
    onChanged();
  });
  const may = allowed("manage");
  const { status } = subscription;
  const body = { kind: "retry", filter: { subscription_id: [subscription.id], status: ["failed"] } };
  return html`
    ${may && status === "active" && html`<${Button} icon="pause" busy=${act.busy} onClick=${() => act.run("pause", "Paused: deliveries wait")}>Pause<//>`}
    ${may && status === "paused" && html`<${Button} kind="primary" icon="play" busy=${act.busy} onClick=${() => act.run("resume", "Resumed: what waited is sent")}>Resume<//>`}
    ${may && status === "disabled" && html`<${Button} kind="primary" icon="play" busy=${act.busy} onClick=${() => act.run("enable", "Enabled: what waited is sent")}>Enable<//>`}
    ${may && status === "unverified" && html`<${Button} kind="primary" icon="retry" busy=${act.busy} onClick=${() => act.run("verify", "The target is sent another challenge")}>Check again<//>`}
    ${allowed("recover") && html`<${Button} icon="retry" onClick=${() => ask("recover")}>Recover<//>`}
    ${may && status !== "disabled" && html`<${Button} icon="slash" onClick=${() => ask("disable")}>Disable<//>`}
    ${may && html`<${Button} icon="trash" onClick=${() => ask("delete")}>Delete<//>`}
    <${Curl} items=${[
      { label: "Get", method: "GET", path },
      { label: "Pause", method: "POST", path: `${path}/pause` },
      { label: "Resume", method: "POST", path: `${path}/resume` },
      { label: "Disable", method: "POST", path: `${path}/disable` },
      { label: "Enable", method: "POST", path: `${path}/enable` },
      subscription.destination === "pull"
        ? { label: "Pull deliveries", method: "POST", path: `${path}/pull`, body: { max_deliveries: 10, wait_seconds: 20 } }
        : { label: "Send a test event", method: "POST", path: `${path}/test` },
      { label: "Recover what failed", method: "POST", path: "/api/v1/jobs", body },
      { label: "Delete", method: "DELETE", path },
    ]} />
    <${Failure} compact error=${act.error} />
    ${asking === "recover" && html`<${Recover} search=${{ subscription_id: [subscription.id] }} onClose=${() => ask("")} />`}
    ${asking === "disable" &&
    html`
      <${Confirm} title="Disable this subscription?" label="Disable" danger onClose=${() => ask("")} act=${async () => { await call("POST", `${path}/disable`); toast("Disabled: deliveries wait"); onChanged(); }}>
        <p>Nothing is sent until somebody enables it. ${subscription.keep_when_disabled ? "New events are kept for it." : "New events are not kept for it."}</p>
      <//>
    `}
    ${asking === "delete" &&
    html`
      <${Confirm} title="Delete this subscription?" label="Delete" danger onClose=${() => ask("")} act=${async () => { await call("DELETE", path); toast("Deleted"); go("/subscriptions"); }}>
        <p>Deliveries that wait are cancelled. What was delivered stays readable. This cannot be undone.</p>
      <//>
    `}
  `;
}

/** @param {{subscription: Api.Subscription}} props */
function State({ subscription }) {
  const { status, status_reason: reason, status_since: since, breaker } = subscription;
  const notes = [];
  if (status === "disabled") {
    const why = { gone: "its receiver responded with 410", failing: "all its attempts failed for days" }[reason];
    notes.push(html`Disabled <${Time} at=${since} />${why ? `, because ${why}` : " by hand"}. Deliveries wait until somebody enables it.`);
  }
  if (status === "paused") notes.push(html`Paused <${Time} at=${since} />. Deliveries wait until somebody resumes it.`);
  if (status === "unverified") notes.push(html`Its target has not responded to a challenge yet${subscription.check_error ? `: ${subscription.check_error}` : ""}. ${subscription.next_check_at ? html`The next challenge is sent <${Time} at=${subscription.next_check_at} />.` : "Ask for another one."}`);
  if (breaker.state !== "closed") notes.push(html`The circuit breaker is ${breaker.state === "open" ? "open" : "probing"}: ${breaker.reason || "its endpoint keeps failing"}. ${breaker.next_probe_at ? html`The next probe may be sent <${Time} at=${breaker.next_probe_at} />.` : ""}`);
  notes.push(...subscription.warnings);
  return html`${notes.map((note) => html`<div class="note warn"><${Icon} name="warn" /><span class="break">${note}</span></div>`)}`;
}

/** @param {{subscription: Api.Subscription, path: string}} props */
function Overview({ subscription, path }) {
  const from = () => iso(Date.now() - DAY_MS);
  const stats = useQuery((abort) => get("/api/v1/stats/series", { from: from(), step: "5m", subscription_id: subscription.id }, abort), [subscription.id], { every: 15_000 });
  const summary = stats.data?.total.summary;
  const { breaker } = subscription;
  const list = (more) => url("/deliveries", { subscription_id: subscription.id, from: stats.data?.from || from(), ...more });
  const show = (begin, end) => go(list({ from: iso(begin * 1000), to: iso(end * 1000) }));
  return html`
    <${Failure} error=${stats.error} retry=${stats.refresh} compact />
    <div class="tiles">
      <${Ended} summary=${summary} list=${list} after=", 24 h" />
      <${Median} summary=${summary} href=${list({})} />
      ${subscription.destination === "http" && html`<${Tile} label="Breaker" value=${html`<${Badge} look=${BREAKER[breaker.state]} />`} href=${list({ status: ["scheduled", "failed"] })} note=${breaker.consecutive_failures ? `${plural(breaker.consecutive_failures, "failure")} in a row` : "no failures in a row"} />`}
      <${Tile} label="State" value=${html`<${Badge} look=${SUBSCRIPTION[subscription.status]} />`} href=${allowed("admin") ? `/audit?resource_id=${subscription.id}` : undefined} note=${html`since <${Time} at=${subscription.status_since} />`} />
    </div>
    <${Card} title="Deliveries by outcome, 24 hours">
      ${stats.data ? html`<${Outcomes} label="Deliveries by outcome" points=${stats.data.total.points} height=${180} onPick=${show} />` : !stats.error && html`<${Skeleton} rows=${5} />`}
    <//>
    <div class="two">
      <${Card} title="Endpoint">
        <${Facts} items=${[
          subscription.target_url ? ["URL", html`<span class="break mono">${subscription.target_url}</span>`] : ["Destination", html`Consumers pull: <span class="break mono">POST ${path}/pull</span>`],
          subscription.expires_after_idle_seconds && ["Deleted", `when nobody pulls for ${subscription.expires_after_idle_seconds} s`],
          ["Event types", html`<${Types} types=${subscription.event_types} />`],
          subscription.filter && ["Filter", html`<code>${subscription.filter}</code>${subscription.filter_stopped_at ? " (stopped: too slow)" : ""}`],
          subscription.description && ["Description", subscription.description],
          ["Kind", subscription.kind === "system" ? "System: only operational events" : "Normal"],
          subscription.destination === "http" && ["Rate limit", subscription.rate_limit_per_second ? `${subscription.rate_limit_per_second} a second` : "none"],
          subscription.destination === "http" && ["Timeout", `${subscription.effective_timeout_seconds} s${subscription.timeout_seconds === null ? ", the service’s default" : ""}`],
          Object.keys(subscription.metadata).length > 0 && ["Metadata", Object.entries(subscription.metadata).map(([key, value]) => html`<div><span class="mute">${key}=</span>${value}</div>`)],
          Object.keys(subscription.event_versions || {}).length > 0 && ["Versions of events", Object.entries(subscription.event_versions).map(([type, number]) => `${type}: ${number}`).join(", ")],
          subscription.template && ["Template", subscription.template.preset || `its own, ${subscription.template.content_type}`],
          subscription.header_names.length > 0 && ["Headers", subscription.header_names.join(", ")],
          subscription.client_certificate && ["Client certificate", html`${subscription.client_certificate.subject}, expires <${Time} at=${subscription.client_certificate.not_after} />`],
          ["Created", html`<${Moment} at=${subscription.created_at} />`],
        ]} />
      <//>
      <${Card} title="Retries">
        <${Schedule} policy=${subscription.effective_retry_policy} />
        <p class="small mute">${subscription.retry_policy ? "Its own policy." : "The service’s default policy."} <a href=${link(`/subscriptions/${subscription.id}?view=settings`)}>Change it</a></p>
      <//>
    </div>
    ${allowed("admin") && html`<${History} id=${subscription.id} />`}
  `;
}

/** @param {{id: string}} props */
function History({ id }) {
  const query = useQuery((abort) => get("/api/v1/admin/audit", { resource_type: "subscription", resource_id: id, limit: 10 }, abort), [id]);
  if (!query.data?.items.length) return html`<${Failure} compact error=${query.error} />`;
  return html`<${Card} kind="flush" title="Changes" actions=${html`<a class="small" href=${link(`/audit?resource_id=${id}`)}>All in the audit log</a>`}><${AuditTable} entries=${query.data.items} /><//>`;
}

/** @param {{id: string}} props */
function Deliveries({ id }) {
  const list = useList((cursor, abort) => get("/api/v1/deliveries", { subscription_id: id, limit: 25, cursor }, abort), [id], { every: 4000, recorded: (one) => one.subscription_id === id });
  return html`
    <${Listed} list=${list} noun="deliveries" title="Deliveries" actions=${html`<a class="small" href=${link(`/deliveries?subscription_id=${id}`)}>Search them</a>`}
      empty=${html`<${Empty} icon="send" title="Nothing was delivered to it yet" actions=${html`<${Button} href=${link("/events?send=1")} icon="send">Send an event<//>`}><p>Events that match its types will be listed here, newest first.</p><//>`}>
      <${DeliveryTable} items=${list.items} without="subscription" onChanged=${list.replace} />
    <//>
  `;
}
