// Subscriptions: which endpoints there are, and how they are.
import { html, useState } from "../../lib/html.js";
import { all, allowed, call, get, url } from "../../lib/api.js";
import { compact, iso, percent, plural } from "../../lib/format.js";
import { link, param, setQuery } from "../../lib/router.js";
import { Badge, Button, Card, Curl, Empty, Failure, Loaded, Page, QuerySelect, QueryText, Spark, Table, toast } from "../../lib/ui.js";
import { useAction, useQuery } from "../../lib/query.js";
import { leadsTo, nameOf } from "../../lib/names.js";
import { BREAKER, SUBSCRIPTION } from "../../lib/words.js";
import { attention } from "../overview.js";

const PATH = "/api/v1/subscriptions";
// As many as one request for statistics takes.
const ROWS = 100;
const DAY_MS = 86_400_000;
const UNFINISHED = ["pending", "scheduled", "in_flight"];

/** @param {Api.Subscription} subscription @param {string} text */
const matches = (subscription, text) =>
  [subscription.name, subscription.target_url, subscription.id, subscription.description, ...subscription.event_types, ...Object.entries(subscription.metadata).map((pair) => pair.join("="))].some((part) => part?.toLowerCase().includes(text));

/** @param {{types: string[]}} props */
export function Types({ types }) {
  if (!types.length) return html`<span class="mute">every type</span>`;
  return html`<span class="break">${types.slice(0, 3).join(", ")}${types.length > 3 ? html` <span class="mute" title=${types.join(", ")}>and ${types.length - 3} more</span>` : ""}</span>`;
}

export default function Subscriptions() {
  const text = param("q").toLowerCase();
  const show = param("show");
  const query = useQuery((abort) => all(PATH, {}, abort, 2000), [], { every: 10_000 });
  const found = (query.data?.items || []).filter((item) => (!text || matches(item, text)) && (!show || (show === "attention" ? attention([item]).length > 0 : item.status === show)));
  const shown = found.slice(0, Number(param("rows")) || ROWS);
  const ids = shown.slice(0, ROWS).map((item) => item.id);
  const stats = useQuery(
    async (abort) => {
      if (!ids.length) return { series: new Map(), waiting: new Map() };
      const from = iso(Date.now() - DAY_MS);
      const [series, waiting] = await Promise.all([
        get("/api/v1/stats/series", { from, step: "1h", group_by: "subscription", subscription_id: ids }, abort),
        get("/api/v1/deliveries/summary", { group_by: "subscription", status: UNFINISHED, from: iso(Date.now() - 31 * DAY_MS) }, abort),
      ]);
      return {
        series: new Map(series.groups.map((group) => [group.group, group])),
        waiting: new Map(waiting.groups.map((group) => [group.value, group.deliveries])),
        more: Boolean(waiting.next_cursor),
      };
    },
    [ids.join()],
    { every: 15_000 },
  );
  const [chosen, choose] = useState(/** @type {Set<string>} */ (new Set()));
  const picked = shown.filter((item) => chosen.has(item.id));
  const act = useAction(async (verb) => {
    let done = 0;
    const failures = [];
    for (const item of picked) {
      try {
        await call("POST", `${PATH}/${item.id}/${verb}`);
        done += 1;
      } catch (problem) {
        failures.push(problem);
      }
    }
    query.refresh();
    if (done) toast(`${plural(done, "subscription")}: ${verb === "pause" ? "paused" : verb === "resume" ? "resumed" : "enabled"}`);
    if (failures.length) throw failures[0].isCopy ? failures[0] : new Error(`${plural(failures.length, "subscription")} stayed as they are. The first: ${failures[0].message}`);
    choose(new Set());
  });
  const may = allowed("manage");
  const toggle = (id, on) => {
    const next = new Set(chosen);
    if (on) next.add(id);
    else next.delete(id);
    choose(next);
  };
  const columns = [
    may && {
      title: html`<input type="checkbox" aria-label="Choose all that are shown" checked=${picked.length > 0 && picked.length === shown.length} onChange=${(event) => choose(new Set(event.currentTarget.checked ? shown.map((item) => item.id) : []))} />`,
      kind: "pick",
      cell: (item) => html`<input type="checkbox" aria-label=${`Choose ${nameOf(item)}`} checked=${chosen.has(item.id)} onChange=${(event) => toggle(item.id, event.currentTarget.checked)} />`,
    },
    {
      title: "Endpoint",
      cell: (item) => html`<a class="cellmain break" data-row href=${link(`/subscriptions/${item.id}`)}>${nameOf(item)}</a><div class="cellsub break">${item.name ? leadsTo(item) : item.description}</div>`,
    },
    {
      title: "State",
      cell: (item) => html`<span class="row"><${Badge} look=${SUBSCRIPTION[item.status]} />${item.breaker.state !== "closed" && html`<${Badge} look=${{ ...BREAKER[item.breaker.state], label: `Breaker ${BREAKER[item.breaker.state].label.toLowerCase()}` }} />`}</span>`,
    },
    { title: "Event types", kind: "lo", cell: (item) => html`<${Types} types=${item.event_types} />` },
    {
      title: "24 hours",
      kind: "lo",
      cell: (item) => {
        const group = stats.data?.series.get(item.id);
        if (!group) return html`<span class="mute">${stats.data ? "nothing yet" : "…"}</span>`;
        return html`<${Spark} points=${group.points} label=${`${group.summary.delivered} delivered, ${group.summary.failed} failed in 24 hours`} />`;
      },
    },
    { title: "Success", kind: "num lo", cell: (item) => percent(stats.data?.series.get(item.id)?.summary.delivery_success_rate ?? null) },
    {
      title: "Waiting",
      kind: "num lo",
      cell: (item) => {
        const waiting = stats.data?.waiting.get(item.id);
        if (!waiting) return html`<span class="mute">${stats.data ? "0" : "…"}</span>`;
        return html`<a href=${link(url("/deliveries", { subscription_id: item.id, status: UNFINISHED }))}>${compact(waiting)}</a>`;
      },
    },
  ];
  return html`
    <${Page}
      title="Subscriptions"
      about="An endpoint, and the event types that it receives."
      actions=${html`
        ${allowed("create") && html`<${Button} kind="primary" icon="plus" href=${link("/subscriptions/new")}>New subscription<//>`}
        <${Curl} items=${[
          { label: "List", method: "GET", path: PATH },
          { label: "Create", method: "POST", path: PATH, body: { target_url: "https://example.com/hook", event_types: ["order.*"] } },
          { label: "Pause one", method: "POST", path: `${PATH}/${picked[0]?.id || "ID"}/pause` },
        ]} />
      `}
    >
      <div class="filters">
        <${QueryText} name="q" label="Filter by name, URL, type, or metadata" placeholder="Name, URL, type, key=value…" />
        <${QuerySelect} name="show" label="State" options=${[["", "Every state"], ["attention", "Needs attention"], ["active", "Active"], ["paused", "Paused"], ["disabled", "Disabled"], ["unverified", "Unverified"]]} />
        ${query.data && html`<span class="small mute">${plural(found.length, "subscription")}${query.data.more ? " of the newest 2,000" : ""}</span>`}
      </div>
      <${Failure} error=${act.error} compact />
      <${Failure} error=${stats.error} retry=${stats.refresh} compact />
      <${Card} kind="flush">
        <${Loaded} query=${query} rows=${8}>
          ${(data) => {
            if (shown.length) return html`<${Table} label="Subscriptions" columns=${columns} rows=${shown} />`;
            if (data.items.length) {
              return html`<${Empty} icon="search" title="No subscription matches" actions=${html`<${Button} onClick=${() => setQuery({ q: null, show: null })}>Remove the filter<//>`}><p>${plural(data.items.length, "subscription")} in all.</p><//>`;
            }
            return html`
              <${Empty} icon="hook" title="No subscriptions yet" actions=${allowed("create") && html`<${Button} kind="primary" icon="plus" href=${link("/subscriptions/new")}>New subscription<//>`}>
                <p>A subscription is a URL and the event types it wants. Every event that matches is delivered to it: signed, retried, and logged attempt by attempt.</p>
              <//>
            `;
          }}
        <//>
      <//>
      ${found.length > shown.length && html`<div class="center"><${Button} onClick=${() => setQuery({ rows: shown.length + ROWS })}>Show more subscriptions<//></div>`}
      ${picked.length > 0 &&
      html`
        <div class="chosen" role="region" aria-label="Chosen subscriptions">
          <span class="strong">${plural(picked.length, "subscription")} chosen</span>
          <${Button} icon="pause" kind="primary" busy=${act.busy} onClick=${() => act.run("pause")}>Pause<//>
          <${Button} icon="play" busy=${act.busy} onClick=${() => act.run("resume")}>Resume<//>
          <${Button} icon="check" busy=${act.busy} onClick=${() => act.run("enable")}>Enable<//>
          <${Button} kind="quiet" onClick=${() => choose(new Set())}>Choose none<//>
        </div>
      `}
    <//>
  `;
}
