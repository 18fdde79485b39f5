// A job: its progress, and what became of its deliveries.
import { html, useState } from "../../lib/html.js";
import { allowed, call, get } from "../../lib/api.js";
import { absolute, count, duration } from "../../lib/format.js";
import { link } from "../../lib/router.js";
import { Badge, Bar, Button, Card, Confirm, Curl, Empty, Facts, Failure, Icon, Id, Loaded, Moment, Page, Tile, Time, toast } from "../../lib/ui.js";
import { useAction, useQuery } from "../../lib/query.js";
import { Subscription } from "../../lib/names.js";
import { HOLDS, JOB, REASONS, actorName, errorName, sentence } from "../../lib/words.js";
import { isOfEvents, name as title } from "./list.js";

// Of the events that a job names, so many are listed.
const MOST_EVENTS = 20;
const ONLY = { missing: "Events that it has no delivery of", all: "All events that it wants" };
const ENDED = ["succeeded", "failed", "cancelled"];

/** @param {{args: string[]}} props */
export default function JobPage({ args: [id] }) {
  const path = `/api/v1/jobs/${id}`;
  const [settled, settle] = useState(false);
  const query = useQuery(
    async (abort) => {
      const job = await get(path, {}, abort);
      // What became of its deliveries goes on for a while after it has looked at all of them.
      settle(ENDED.includes(job.status) && !job.results?.waiting);
      return job;
    },
    [id],
    { every: settled ? 20_000 : 1000 },
  );
  const [cancelling, cancel] = useState(false);
  const act = useAction(async (verb) => query.change(await call("POST", `${path}/${verb}`)));
  const job = query.data;
  const live = job && !ENDED.includes(job.status);
  const may = allowed("recover") && live;
  return html`
    <${Page} title=${job ? title(job) : "Job"} name="Job" back=${{ href: "/jobs", label: "Jobs" }} about=${html`<${Id} value=${id} whole />`}
      actions=${job &&
      html`
        ${may && job.status !== "paused" && html`<${Button} icon="pause" busy=${act.busy} onClick=${() => act.run("pause")}>Pause<//>`}
        ${may && job.status === "paused" && html`<${Button} kind="primary" icon="play" busy=${act.busy} onClick=${() => act.run("resume")}>Resume<//>`}
        ${may && html`<${Button} icon="slash" onClick=${() => cancel(true)}>Cancel<//>`}
        <${Curl} items=${[
          { label: "Get", method: "GET", path },
          { label: "Pause", method: "POST", path: `${path}/pause` },
          { label: "Resume", method: "POST", path: `${path}/resume` },
          { label: "Cancel", method: "POST", path: `${path}/cancel` },
        ]} />
        <${Failure} compact error=${act.error} />
      `}>
      ${query.error?.status === 404
        ? html`<${Card}><${Empty} icon="search" title="This job was not found" actions=${html`<${Button} href=${link("/jobs")}>Jobs<//>`}><p>Jobs are kept for 30 days after they end.</p><//><//>`
        : html`<${Loaded} query=${query} rows=${6}>${(found) => html`<${Body} job=${found} />`}<//>`}
      ${cancelling &&
      html`
        <${Confirm} title="Cancel this job?" label="Cancel the job" danger onClose=${() => cancel(false)} act=${async () => { query.change(await call("POST", `${path}/cancel`)); toast("The job is cancelled"); }}>
          <p>What it has done stays done. It cannot be resumed.</p>
        <//>
      `}
    <//>
  `;
}

/** @param {{job: Api.Job}} props */
function Body({ job }) {
  const { counts, results, filter } = job;
  const seen = counts.done + counts.skipped + counts.gone;
  // Without status: those that it has changed are in another state now.
  const list = (more = {}) => {
    const query = new URLSearchParams(Object.entries(more));
    for (const name of ["subscription_id", "event_type", "tag", "idempotency_key", "provider_id", "status_code", "error_kind", "reason", "held_by"]) for (const value of filter[name] || []) query.append(name, value);
    if (filter.from) query.set("from", filter.from);
    if (filter.to) query.set("to", filter.to);
    return `/deliveries?${query}`;
  };
  // A search of deliveries takes neither events nor, for what was replayed to another subscription, that one.
  const findable = !isOfEvents(job) && !filter.event_ids.length;
  const all = findable ? list() : undefined;
  const outcome = (status) => (findable && !job.to_subscription_id ? list({ status }) : undefined);
  const elapsed = job.started_at ? (Date.parse(job.ended_at || job.moved_at || job.started_at) - Date.parse(job.started_at)) / 1000 : 0;
  return html`
    <${Card}>
      <div class="row">
        <${Badge} look=${JOB[job.status]} />
        <span class="strong num">${count(seen)} of ${counts.matched_is_exact ? "" : "at least "}${count(counts.matched)}</span>
        <span class="mute">
          ${job.estimated_end_at ? html`Ends <${Time} at=${job.estimated_end_at} />${" · "}` : ""}
          ${job.ended_at ? html`Ended <${Time} at=${job.ended_at} />, after ${duration(elapsed)}${" · "}` : ""}
          at most ${count(job.rate_per_second)} a second${job.current_rate_per_second !== undefined && job.current_rate_per_second !== null && !job.ended_at ? `, now ${count(Math.round(job.current_rate_per_second))}` : ""}
        </span>
      </div>
      <${Bar} label=${`${count(seen)} of ${count(counts.matched)}`} total=${Math.max(counts.matched, seen)} parts=${[["accent", counts.done], ["mute", counts.skipped + counts.gone]]} />
      ${job.error && html`<div class="note warn"><${Icon} name="warn" /><span class="break">${job.error}</span></div>`}
    <//>
    <div class="tiles">
      <${Tile} label="Done" value=${count(counts.done)} href=${all} note=${{ retry: "made pending again", replay: "replayed", cancel: "cancelled", erase: "erased" }[job.kind] || ""} />
      <${Tile} label="Skipped" value=${count(counts.skipped)} href=${all} note="changed meanwhile" />
      <${Tile} label="Gone" value=${count(counts.gone)} href=${all} note="payload no longer kept" />
      ${results &&
      html`
        <${Tile} label="Delivered since" tone="ok" value=${count(results.delivered)} href=${outcome("delivered")} />
        <${Tile} label="Failed again" tone=${results.failed ? "bad" : ""} value=${count(results.failed)} href=${outcome("failed")} />
        <${Tile} label="Still waiting" value=${count(results.waiting)} href=${outcome("pending") && `${outcome("pending")}&status=scheduled&status=in_flight`} note="pending, scheduled, in flight" />
      `}
    </div>
    ${results &&
    html`
      <${Card} title="What became of them">
        <${Bar} label=${`${results.delivered} delivered, ${results.failed} failed, ${results.waiting} waiting`} total=${results.delivered + results.failed + results.waiting} parts=${[["ok", results.delivered], ["bad", results.failed], ["warn", results.waiting]]} />
        <div class="legend">
          <span><span class="dot s-ok"></span>Delivered <span class="num">${count(results.delivered)}</span></span>
          <span><span class="dot s-bad"></span>Failed <span class="num">${count(results.failed)}</span></span>
          <span><span class="dot s-warn"></span>Waiting <span class="num">${count(results.waiting)}</span></span>
        </div>
      <//>
    `}
    <${Card} title=${isOfEvents(job) ? "Which events" : "Which deliveries"} actions=${findable && html`<a class="small" href=${link(list())}>Search them</a>`}>
      <${Facts} items=${[
        !isOfEvents(job) && ["State", filter.status.length ? filter.status.map(sentence).join(", ") : "any"],
        filter.subscription_id.length > 0 && ["Subscriptions", filter.subscription_id.map((id) => html`<div><${Subscription} id=${id} /></div>`)],
        filter.event_type.length > 0 && ["Event types", filter.event_type.join(", ")],
        filter.tag.length > 0 && ["Tags", filter.tag.join(", ")],
        filter.event_ids.length > 0 && ["Events", html`${filter.event_ids.slice(0, MOST_EVENTS).map((id) => html`<div><${Id} value=${id} href=${`/events/${id}`} /></div>`)}${filter.event_ids.length > MOST_EVENTS && `and ${count(filter.event_ids.length - MOST_EVENTS)} more`}`],
        filter.idempotency_key.length > 0 && ["Idempotency keys", filter.idempotency_key.join(", ")],
        filter.provider_id.length > 0 && ["Ids of the provider", filter.provider_id.join(", ")],
        filter.status_code.length > 0 && ["Status codes", filter.status_code.join(", ")],
        filter.error_kind.length > 0 && ["Errors", filter.error_kind.map(errorName).join(", ")],
        filter.reason.length > 0 && ["Reasons", filter.reason.map((one) => REASONS[one] || one).join(", ")],
        filter.held_by.length > 0 && ["Held by", filter.held_by.map((one) => HOLDS[one] || one).join(", ")],
        filter.min_attempts > 0 && ["Attempts at least", filter.min_attempts],
        ["Accepted from", filter.from ? absolute(filter.from) : "the beginning"],
        ["Accepted before", filter.to ? absolute(filter.to) : "now"],
        job.only && ["Only", ONLY[job.only] || job.only],
        job.to_subscription_id && ["Replayed to", html`<${Subscription} id=${job.to_subscription_id} />`],
        ["Created", html`<${Moment} at=${job.created_at} />`],
        ["Created by", actorName(job.created_by)],
      ]} />
    <//>
  `;
}
