// Jobs: what is done to many deliveries at once.
import { html, useState } from "../../lib/html.js";
import { allowed, get } from "../../lib/api.js";
import { count, iso, plural } from "../../lib/format.js";
import { link, param, setQuery } from "../../lib/router.js";
import { Badge, Bar, Button, Curl, Empty, Listed, Page, QuerySelect, Table, Time } from "../../lib/ui.js";
import { useList } from "../../lib/query.js";
import { nameOf, subscriptions } from "../../lib/names.js";
import { HOLDS, JOB, JOBS, REASONS, errorName } from "../../lib/words.js";
import { Recover } from "../deliveries/recover.js";

const PATH = "/api/v1/jobs";

/** Whether a job is about events, and not about deliveries. @param {Api.Job} job */
export const isOfEvents = (job) => job.kind === "erase" || Boolean(job.only);

/** Return what a job does, and to how many. @param {Api.Job} job */
export function name(job) {
  const { matched } = job.counts;
  return `${JOBS[job.kind] || job.kind} ${isOfEvents(job) ? plural(matched, "event") : plural(matched, "delivery", "deliveries")}`;
}

/** Return what a job is about, in a few words. @param {Api.Job} job */
export function subject(job) {
  const { filter } = job;
  const known = subscriptions();
  const parts = [
    filter.status.join(" or ").replaceAll("_", " "),
    filter.event_type.join(", "),
    filter.tag.join(", "),
    filter.event_ids.length && plural(filter.event_ids.length, "event"),
    filter.idempotency_key.join(", "),
    filter.provider_id.join(", "),
    filter.status_code.join(", "),
    filter.error_kind.map(errorName).join(", "),
    filter.reason.map((one) => REASONS[one] || one).join(", "),
    filter.held_by.map((one) => HOLDS[one] || one).join(", "),
    filter.subscription_id.length && `to ${filter.subscription_id.map((id) => (known.has(id) ? nameOf(known.get(id)) : `…${id.slice(-6)}`)).join(", ")}`,
  ];
  return parts.filter(Boolean).join(" · ");
}

/** @param {{job: Api.Job}} props */
export function Progress({ job }) {
  const { matched, done, skipped, gone } = job.counts;
  const seen = done + skipped + gone;
  return html`
    <${Bar} label=${`${count(seen)} of ${count(matched)}`} total=${Math.max(matched, seen)} parts=${[["accent", done], ["mute", skipped + gone]]} />
    <div class="cellsub num">${count(seen)} of ${job.counts.matched_is_exact ? "" : "at least "}${count(matched)}</div>
  `;
}

export default function Jobs() {
  const status = param("status");
  const list = useList((cursor, abort) => get(PATH, { status, limit: 25, cursor }, abort), [status], { every: 2000 });
  const [creating, create] = useState(false);
  const day = iso(Date.now() - 86_400_000);
  return html`
    <${Page} title="Jobs" about="Retry, replay, or cancel many deliveries at once, at a rate you choose. Jobs survive restarts, and can be paused."
      actions=${html`
        ${allowed("recover") && html`<${Button} kind="primary" icon="retry" onClick=${() => create(true)}>Recover the last 24 hours<//>`}
        <${Curl} items=${[
          { label: "List", method: "GET", path: PATH, query: { status } },
          { label: "Count what a job would do", method: "POST", path: PATH, body: { kind: "retry", filter: { status: ["failed"], from: day }, dry_run: true } },
          { label: "Create one", method: "POST", path: PATH, body: { kind: "retry", filter: { status: ["failed"], from: day }, rate_per_second: 50 } },
        ]} />
      `}>
      <div class="filters">
        <${QuerySelect} name="status" label="State" options=${[["", "Every state"], ...Object.entries(JOB).map(([key, look]) => [key, look.label])]} />
      </div>
      <${Listed} list=${list} noun="jobs" empty=${html`
          <${Empty} icon="job" title=${status ? "No job is in this state" : "No jobs yet"}
            actions=${status ? html`<${Button} onClick=${() => setQuery({ status: null })}>Show all<//>` : html`<${Button} href=${link("/deliveries?status=failed")}>Failed deliveries<//>`}>
            <p>After an outage, search for what failed and choose “Recover all that match”: what it would do is counted before it begins.</p>
          <//>
        `}>
        <${Table} label="Jobs" rows=${list.items} stale=${list.stale} columns=${[
          { title: "State", cell: (job) => html`<${Badge} look=${JOB[job.status]} />` },
          { title: "Job", cell: (job) => html`<a class="cellmain" data-row href=${link(`/jobs/${job.id}`)}>${name(job)}</a><div class="cellsub">${subject(job)}</div>` },
          { title: "Progress", cell: (job) => html`<${Progress} job=${job} />` },
          { title: "Rate", kind: "num lo", cell: (job) => `${count(job.rate_per_second)}/s` },
          { title: "Created", kind: "num lo", cell: (job) => html`<${Time} at=${job.created_at} />` },
          { title: "Ends", kind: "num lo", cell: (job) => (job.ended_at ? html`<${Time} at=${job.ended_at} />` : html`<${Time} at=${job.estimated_end_at} />`) },
        ]} />
      <//>
      ${creating && html`<${Recover} search=${{ from: day }} onClose=${() => create(false)} />`}
    <//>
  `;
}
