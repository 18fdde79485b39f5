// What happens now, and what needs somebody.
import { html, useEffect, useState } from "../lib/html.js";
import { all, allowed, get, tenant, url } from "../lib/api.js";
import { compact, count, iso, plural } from "../lib/format.js";
import { follow } from "../lib/live.js";
import { nameOf } from "../lib/names.js";
import { go, link, param, setQuery } from "../lib/router.js";
import { Button, Card, Empty, Failure, Loaded, Page, Segments, Shape, Skeleton, Tile, Time } from "../lib/ui.js";
import { useQuery } from "../lib/query.js";
import { BREAKER, HOLDS, SUBSCRIPTION } from "../lib/words.js";
import { Outcomes } from "../lib/chart.js";
import { Ended } from "../lib/totals.js";

const PERIODS = { "1h": 3600, "24h": 86400, "7d": 7 * 86400 };
const STEPS = { "1h": "1m", "24h": "5m", "7d": "1h" };
// Older deliveries have expired, however long their retries take.
const UNFINISHED_SECONDS = 31 * 86400;
const SOON_SECONDS = 30 * 86400;
const UNFINISHED = ["pending", "scheduled", "in_flight"];

const ago = (seconds) => iso(Math.floor(Date.now() / 1000 - seconds) * 1000);

/** Return the subscriptions that somebody should look at, the worst first. @param {any[]} subscriptions */
export function attention(subscriptions) {
  const found = [];
  for (const subscription of subscriptions) {
    const { breaker, status, status_reason: reason, client_certificate: certificate } = subscription;
    const add = (rank, look, text, at) => found.push({ rank, look, text, at, subscription });
    if (status === "disabled" && reason !== "manual") {
      add(0, SUBSCRIPTION.disabled, reason === "gone" ? "Disabled: its receiver responded with 410" : "Disabled: every attempt failed for days", subscription.status_since);
    } else if (breaker.state !== "closed") {
      add(1, BREAKER[breaker.state], `Breaker ${breaker.state === "open" ? "open" : "probing"}: ${plural(breaker.consecutive_failures, "failed attempt")} in a row`, breaker.since);
    } else if (status === "unverified") {
      add(2, SUBSCRIPTION.unverified, subscription.check_error || "Its target has not responded to a challenge yet", subscription.status_since);
    } else if (breaker.consecutive_failures > 0 && status === "active") {
      add(4, { tone: "warn", icon: "warn", label: "Failing" }, `Failing: ${plural(breaker.consecutive_failures, "failed attempt")} in a row`, breaker.since);
    }
    if (certificate && Date.parse(certificate.not_after) - Date.now() < SOON_SECONDS * 1000) {
      const over = Date.parse(certificate.not_after) < Date.now();
      add(over ? 1 : 3, { tone: over ? "bad" : "warn", icon: "key", label: "Certificate" }, over ? "Its client certificate has expired" : "Its client certificate expires soon", certificate.not_after);
    }
  }
  return found.sort((one, other) => one.rank - other.rank);
}

/** What happens in this second, while it can be streamed. */
function Now() {
  const [now, set] = useState(/** @type {any} */ (null));
  useEffect(() => follow((message) => ("delivered" in message || message.live === false) && set(message), "stats"), [tenant.value]);
  return now?.delivered !== undefined && html`<span class="small mute num">Per second now: ${count(now.delivered)} delivered · ${count(now.scheduled)} to be retried · ${count(now.failed)} failed</span>`;
}

const sum = (groups) => groups.reduce((total, group) => total + group.deliveries, 0);

export default function Overview() {
  const period = PERIODS[param("period")] ? param("period") : "24h";
  const seconds = PERIODS[period];
  const stats = useQuery((abort) => get("/api/v1/stats/series", { from: ago(seconds), step: STEPS[period] }, abort), [period], { every: 10_000 });
  const waiting = useQuery(
    async (abort) => {
      const from = ago(UNFINISHED_SECONDS);
      const [counts, oldest] = await Promise.all([
        get("/api/v1/deliveries/summary", { group_by: "status", status: UNFINISHED, from }, abort),
        get("/api/v1/deliveries", { status: UNFINISHED, from, order: "oldest", limit: 1 }, abort),
      ]);
      return { from, counts, more: Boolean(counts.next_cursor), oldest: oldest.items[0], total: sum(counts.groups) };
    },
    [],
    { every: 10_000 },
  );
  const subscriptions = useQuery((abort) => all("/api/v1/subscriptions", {}, abort), [], { every: 15_000 });
  const held = useQuery(
    async (abort) => {
      const from = ago(UNFINISHED_SECONDS);
      const counted = (holds) => get("/api/v1/deliveries/summary", { group_by: "held_by", held_by: holds, from }, abort);
      // Of many that one thing holds, those that another one holds may not be among the newest.
      const all = await counted(Object.keys(HOLDS));
      const each = all.next_cursor ? await Promise.all(Object.keys(HOLDS).map(counted)) : [all];
      return each.flatMap(({ groups, next_cursor: more }) => groups.map((group) => ({ ...group, from, more })));
    },
    [],
    { every: 15_000 },
  );
  const fresh = subscriptions.data && !subscriptions.data.items.length;
  const from = stats.data?.from || ago(seconds);
  const summary = stats.data?.total.summary;
  const show = (begin, end) => go(url("/deliveries", { from: iso(begin * 1000), to: iso(end * 1000) }));
  const list = (query) => url("/deliveries", { ...query, from });
  return html`
    <${Page}
      title="Overview"
      actions=${html`<${Segments} label="Period" value=${period} onChange=${(value) => setQuery({ period: value === "24h" ? null : value })}
        options=${[["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"]]} />`}
    >
      ${fresh &&
      html`
        <${Card}>
          <${Empty} icon="hook" title="Add the first endpoint"
            actions=${allowed("create") && html`<${Button} kind="primary" icon="plus" href=${link("/subscriptions/new")}>New subscription<//>`}>
            <p>A subscription is a URL and the event types it wants. Create one, send it a test event, and watch its response here.</p>
          <//>
        <//>
      `}
      <${Failure} error=${stats.error} retry=${stats.refresh} compact=${Boolean(stats.data)} />
      <div class="tiles">
        <${Tile} label="Events accepted" value=${summary ? compact(summary.events || 0) : "…"} href=${url("/events", { from })} note=${`in ${period.replace("h", " h").replace("d", " d")}`} />
        <${Ended} summary=${summary} list=${list} all=${`/statistics?period=${period}`} />
        <${Tile}
          label="Waiting"
          value=${waiting.data ? `${compact(waiting.data.total)}${waiting.data.more ? "+" : ""}` : waiting.error ? "–" : "…"}
          href=${url("/deliveries", { status: UNFINISHED, from: waiting.data?.from || ago(UNFINISHED_SECONDS) })}
          note=${waiting.data?.counts.groups.map((group) => `${compact(group.deliveries)} ${group.value.replace("_", " ")}`).join(", ")}
        />
        <${Tile}
          label="Oldest waiting"
          value=${waiting.data ? (waiting.data.oldest ? html`<${Time} at=${waiting.data.oldest.created_at} />` : "none") : waiting.error ? "–" : "…"}
          href=${waiting.data?.oldest ? `/deliveries/${waiting.data.oldest.id}` : undefined}
          note=${waiting.data?.oldest?.event_type || ""}
        />
      </div>
      <${Card} title="Deliveries by outcome" actions=${html`<${Now} />`}>
        ${stats.data
          ? html`<${Outcomes} label="Deliveries by outcome" points=${stats.data.total.points} onPick=${show} />`
          : !stats.error && html`<${Skeleton} rows=${6} />`}
      <//>
      <div class="two">
        <${Card} title="Needs attention" kind="flush">
          <${Loaded} query=${subscriptions} rows=${3}>
            ${(data) => {
              const items = attention(data.items);
              if (!items.length) {
                return html`<${Empty} icon="check" title="Nothing needs you">
                  <p>${data.items.length ? `${plural(data.items.length, "subscription")}${data.more ? " and more" : ""}: none is failing, disabled, or about to lose its certificate.` : "Endpoints that fail will be listed here."}</p>
                <//>`;
              }
              return html`
                <ul class="attention">
                  ${items.slice(0, 8).map(
                    ({ look, text, at, subscription }) => html`
                      <li>
                        <${Shape} look=${look} />
                        <div class="grow">
                          <a class="cellmain" data-row href=${link(`/subscriptions/${subscription.id}`)}>${nameOf(subscription)}</a>
                          <div class="cellsub">${text}</div>
                        </div>
                        <span class="small mute nowrap"><${Time} at=${at} /></span>
                      </li>
                    `,
                  )}
                </ul>
                ${items.length > 8 && html`<p class="center"><a href=${link("/subscriptions?show=attention")}>All ${count(items.length)}</a></p>`}
              `;
            }}
          <//>
        <//>
        <${Card} title="Held back" kind="flush">
          <${Loaded} query=${held} rows=${3}>
            ${(data) =>
              data.length
                ? html`<ul class="attention">
                    ${data.map(
                      ({ value: hold, deliveries, more, from: since }) => html`
                        <li>
                          <${Shape} look=${hold === "breaker_open" ? BREAKER.open : SUBSCRIPTION[hold] || SUBSCRIPTION.unverified} />
                          <div class="grow">
                            <a class="cellmain" data-row href=${link(url("/deliveries", { held_by: hold, from: since }))}>${HOLDS[hold]}</a>
                            <div class="cellsub">${EXPLAINED[hold]}</div>
                          </div>
                          <span class="strong num">${count(deliveries)}${more ? "+" : ""}</span>
                        </li>
                      `,
                    )}
                  </ul>`
                : html`<${Empty} icon="play" title="Nothing is held"><p>What waits for a paused, disabled, or failing endpoint is counted here.</p><//>`}
          <//>
        <//>
      </div>
    <//>
  `;
}

const EXPLAINED = {
  breaker_open: "The endpoint keeps failing, so only a probe is sent from time to time",
  paused: "Sent when somebody resumes the subscription",
  disabled: "Sent when somebody enables the subscription",
  unverified: "Sent once the target has responded to its challenge",
  pull: "Consumers have not pulled it yet",
  recovering: "The breaker has just closed; sent little by little",
  concurrency: "As many requests are out as are allowed",
  rate_limit: "The subscription has used up its rate limit",
};
