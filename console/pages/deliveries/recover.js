// Recover all that match: what a job would do is counted before it begins.
import { html, useState } from "../../lib/html.js";
import { call, curl } from "../../lib/api.js";
import { brief, count, duration, plural } from "../../lib/format.js";
import { go, link } from "../../lib/router.js";
import { Button, Code, Dialog, Facts, Failure, Input, Moment, Time, toast } from "../../lib/ui.js";
import { useAction } from "../../lib/query.js";
import { JOBS, REASONS } from "../../lib/words.js";

const KINDS = [
  ["retry", "Retry", "Send each again now, with its full retry schedule and the same webhook-id."],
  ["replay", "Replay", "Make a new delivery of each event, with a webhook-id of its own."],
  ["cancel", "Cancel", "Cancel those that wait."],
];
const STATUSES = { retry: ["failed", "cancelled", "delivered", "scheduled"], cancel: ["pending", "scheduled"] };
const BY_DEFAULT = { retry: ["failed"], cancel: ["pending", "scheduled"], replay: [] };

/** Return a search as the filter of a job. @param {Record<string, any>} search @param {string} kind */
export function jobFilter(search, kind) {
  const { order, min_attempts: attempts, status = [], ...others } = search;
  const may = STATUSES[kind];
  const wanted = may ? status.filter((one) => may.includes(one)) : status;
  return { ...others, status: wanted.length ? wanted : BY_DEFAULT[kind], ...(attempts ? { min_attempts: Number(attempts) } : {}) };
}

/**
 * @param {{search: Record<string, any>, from?: string | null, kind?: string, onClose: () => void}} props
 *   `from`: where the search began, if it did not say.
 */
export function Recover({ search, from, kind: first = "retry", onClose }) {
  const [kind, setKind] = useState(first);
  const [rate, setRate] = useState("50");
  const [preview, setPreview] = useState(/** @type {any} */ (null));
  const filter = jobFilter({ ...search, from: search.from || from || undefined }, kind);
  const body = { kind, filter, rate_per_second: Number(rate) };
  const look = useAction(async () => setPreview(await call("POST", "/api/v1/jobs", { body: { kind, filter, dry_run: true } })));
  const start = useAction(async () => {
    const job = await call("POST", "/api/v1/jobs", { body: { token: preview.token, rate_per_second: Number(rate) } });
    toast("The job has been created");
    onClose();
    go(`/jobs/${job.id}`);
  });
  const change = (value) => {
    setKind(value);
    setPreview(null);
  };
  const problem = start.error || look.error;
  const submit = (event) => {
    event.preventDefault();
    (preview?.counts.matched ? start : look).run();
  };
  const footer = html`
    <${Button} onClick=${onClose}>Close<//>
    ${preview?.counts.matched
      ? html`<${Button} kind="primary" type="submit" form="recover" busy=${start.busy}>${JOBS[kind]} ${plural(preview.counts.matched, "delivery", "deliveries")}<//>`
      : html`<${Button} kind="primary" type="submit" form="recover" busy=${look.busy}>Count them first<//>`}
  `;
  return html`
    <${Dialog} title="Recover all that match" wide onClose=${onClose} footer=${footer}>
      <form id="recover" class="stack" onSubmit=${submit}>
        <fieldset class="stack">
          <legend class="unseen">What to do</legend>
          ${KINDS.map(
            ([value, label, hint]) => html`
              <label class="check" key=${value}>
                <input type="radio" name="kind" value=${value} checked=${kind === value} onChange=${() => change(value)} />
                <span><span class="strong">${label}</span><br /><span class="hint">${hint}</span></span>
              </label>
            `,
          )}
        </fieldset>
        <${Input} label="At most so many per second" hint="Rate limits, breakers, and pauses of subscriptions apply as always." error=${problem?.of?.("rate_per_second")} type="number" min="1" max="10000" required value=${rate} onInput=${(event) => setRate(event.currentTarget.value)} />
      </form>
      <${Failure} compact error=${problem} />
      <div aria-live="polite" class="stack">
        ${preview &&
        (preview.counts.matched
          ? html`
              <${Facts}
                items=${[
                  ["Deliveries", html`<span class="strong">${preview.counts.matched_is_exact ? "" : "at least "}${count(preview.counts.matched)}</span>`],
                  ["Oldest", html`<${Moment} at=${preview.oldest_at} />`],
                  ["Newest", html`<${Moment} at=${preview.newest_at} />`],
                  ["Takes about", duration(preview.counts.matched / Number(rate || 1))],
                ]}
              />
              ${Object.keys(preview.reasons).length > 0 &&
              html`<p class="small mute">${Object.entries(preview.reasons).map(([reason, number]) => `${count(number)} ${(REASONS[reason] || reason || "without a reason").toLowerCase()}`).join(" · ")}</p>`}
              <details>
                <summary>${plural(preview.samples.length, "example")}</summary>
                <ul>
                  ${preview.samples.map((one) => html`<li key=${one.delivery_id}><a href=${link(`/deliveries/${one.delivery_id}`)} target="_blank">${one.event_type || "no type"} <span class="mono">${brief(one.delivery_id)}</span></a> <span class="mute">accepted <${Time} at=${one.created_at} /></span></li>`)}
                </ul>
              </details>
            `
          : html`<p>Nothing matches: there is nothing to ${kind}.</p>`)}
      </div>
      <details><summary>The same with curl</summary><${Code} wrap label="Create the job" text=${curl("POST", "/api/v1/jobs", body)} /></details>
    <//>
  `;
}
