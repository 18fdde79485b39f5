// The service itself: whether it can do its work, and what it runs on, in the words of the runbooks.
import { html } from "../../lib/html.js";
import { get, url } from "../../lib/api.js";
import { bytes, count, duration, iso, plural } from "../../lib/format.js";
import { link } from "../../lib/router.js";
import { Badge, Card, Curl, Facts, Icon, Loaded, Page, Table, Time } from "../../lib/ui.js";
import { useQuery } from "../../lib/query.js";
import { HOLDS } from "../../lib/words.js";
import { OnlyAdmins } from "./only.js";

// Where the runbooks are; publishing.toml has the repository.
const DOCS = "https://example.com/webhook-service/blob/main/docs/operations/";
const DAY_MS = 86_400_000;
// Older deliveries have expired, however long their retries take.
const UNFINISHED_DAYS = 31;

/** What it means that a part is away, in the words of the runbooks. @type {Record<string, string>} */
const MEANS = {
  postgres: "Nothing can be accepted or delivered. Callers get 503 and try again; nothing that was accepted is lost.",
  redis: "Deliveries go on, found in Postgres a little later. Nothing is lost.",
  gateway: "Nothing is accepted over REST.",
  ingest: "Nothing can be accepted.",
  delivery: "Deliveries cannot be looked at, and retries and what is held are not sent.",
  worker: "Nothing is sent.",
  analytics: "Statistics stand still. Deliveries go on.",
};
/** @type {Record<string, string>} */
const RUNBOOKS = { delivery: "NoDispatcher", worker: "NoWorker" };
const OK = { tone: "ok", icon: "check" };
const BAD = { tone: "bad", icon: "cross" };

/** A link to the runbook of an alert. @param {{name: string}} props */
const Runbook = ({ name }) => html`<${Doc} page=${`runbooks/Webhook${name}.md`}>Webhook${name}<//>`;

/** @param {{page: string, children?: any}} props */
const Doc = ({ page, children }) => html`<a href=${DOCS + page} target="_blank" rel="noreferrer">${children}</a>`;

/** @param {{children?: any}} props */
const Warning = ({ children }) => html`<div class="note warn"><${Icon} name="warn" /><span>${children}</span></div>`;

export default function System() {
  const system = useQuery((abort) => get("/api/v1/system", {}, abort), [], { every: 5000 });
  return html`
    <${OnlyAdmins} title="System">
      <${Page} title="System" about="Whether the service can do its work, and what it runs on."
        actions=${html`<${Curl} items=${[{ label: "System", method: "GET", path: "/api/v1/system" }]} />`}>
        ${system.error?.status === 503 && html`<${Warning}>If Postgres is away: ${MEANS.postgres} <${Runbook} name="PostgresAway" /><//>`}
        <${Loaded} query=${system} rows=${12}>${(data) => html`<${Parts} data=${data} />`}<//>
      <//>
    <//>
  `;
}

/** @param {{data: any}} props */
function Parts({ data: { version, processes, postgres, queue, redis, unavailable } }) {
  const running = processes.filter((one) => !one.missing);
  const versions = [...new Set(running.map((one) => one.version))];
  const lacking = Object.keys(MEANS).filter((role) => role !== "postgres" && role !== "redis" && processes.length && !running.some((one) => one.roles.includes(role)));
  const warnings = [
    ...unavailable.map(({ service, detail }) => html`${service} does not respond: ${detail}. ${MEANS[service]} <${Runbook} name=${RUNBOOKS[service] || "ProcessMissing"} />`),
    ...lacking.map((role) => html`No ${role} is running. ${MEANS[role]} <${Runbook} name=${RUNBOOKS[role] || "ProcessMissing"} />`),
    redis?.error && html`Redis is unavailable: <span class="break">${redis.error}.</span> ${MEANS.redis} <${Runbook} name="RedisAway" />`,
    versions.length > 1 && html`Versions ${versions.join(" and ")} run beside each other: an upgrade is under way, or has stopped halfway. <${Doc} page="upgrading.md">Upgrading<//>`,
    postgres && !(Date.parse(postgres.partitions_until) - Date.now() > 2 * DAY_MS) && html`Partitions of the coming days are missing. Without one for its day, no event is accepted. <${Runbook} name="RetentionStopped" />`,
  ].filter(Boolean);
  return html`
    ${warnings.map((text) => html`<${Warning}>${text}<//>`)}
    ${!warnings.length && html`<div class="note ok"><${Icon} name="check" /><span>Every part is there. This gateway has version ${version}.</span></div>`}
    ${queue && html`<${Queue} queue=${queue} doorbells=${redis.doorbells} workers=${running.filter((one) => one.slots)} />`}
    ${processes.length > 0 && html`<${Card} title="Processes" kind="flush" actions=${html`<span class="small"><${Doc} page="processes.md">What each does<//></span>`}>
      <${Table} label="Processes" rows=${processes} columns=${[
        { title: "Process", cell: (one) => html`<span class="cellmain">${one.roles.join(", ")}</span><div class="cellsub mono break">${one.instance}, ${one.pid}</div>` },
        { title: "State", cell: (one) => (one.missing ? html`<${Badge} look=${{ ...BAD, label: "Missing" }} /><div class="cellsub"><${Runbook} name="ProcessMissing" /></div>` : html`<${Badge} look=${{ ...OK, label: "Running" }} />`) },
        { title: "Version", kind: "lo", cell: (one) => one.version },
        { title: "Slots in use", kind: "num lo", cell: (one) => (one.slots === null ? html`<span class="mute">–</span>` : used(one.busy_slots, one.slots)) },
        { title: "Started", kind: "num lo", cell: (one) => html`<${Time} at=${one.started_at} />` },
        { title: "Seen", kind: "num", cell: (one) => html`<${Time} at=${one.seen_at} />` },
      ]} />
    <//>`}
    <${Card} title="Stores" actions=${html`<span class="small"><${Runbook} name="PostgresAway" /></span>`}>
      <${Facts} items=${[
        postgres && ["Postgres", postgres.version],
        postgres && ["Size of the database", bytes(postgres.bytes)],
        postgres && ["Connections", used(postgres.connections, postgres.max_connections)],
        postgres && ["Schema", html`<span class="mono">${postgres.schema_version}</span>, applied <${Time} at=${postgres.migrated_at} />`],
        redis && ["Redis", redis.error ? html`<${Badge} look=${{ ...BAD, label: "Unavailable" }} />` : redis.version || "reachable"],
        redis?.memory_bytes && ["Memory of Redis", bytes(redis.memory_bytes) + (redis.max_memory_bytes ? ` of ${bytes(redis.max_memory_bytes)}` : "")],
      ]} />
    <//>
    ${postgres && html`<${Partitions} postgres=${postgres} />`}
  `;
}

const used = (some, all) => `${count(some)} of ${count(all)}`;

/** @param {{queue: any, doorbells: number | null, workers: any[]}} props */
function Queue({ queue, doorbells, workers }) {
  const from = iso((Math.floor(Date.now() / DAY_MS) - UNFINISHED_DAYS) * DAY_MS);
  const list = (query) => url("/deliveries", { ...query, from });
  // The API counts up to it.
  const upTo = (number) => count(number) + (number < 100_000 ? "" : "+");
  const sum = (name) => workers.reduce((before, one) => before + one[name], 0);
  const rows = [
    ["Due", upTo(queue.due), "BacklogGrowing", list({ status: "pending" })],
    ["Oldest due", queue.due ? duration(queue.oldest_due_seconds) : "none", "OldestWaiting", list({ status: "pending", order: "oldest" })],
    ["In flight", upTo(queue.in_flight), "LeasesExpiring", list({ status: "in_flight" })],
    ["Waiting for their next attempt", upTo(queue.scheduled), "SuccessRateLow", list({ status: "scheduled" })],
    ...queue.held.map(({ held_by: by, deliveries }) => [`Held: ${HOLDS[by].toLowerCase()}`, upTo(deliveries), by === "breaker_open" && "BreakersOpen", list({ held_by: by })]),
    !queue.held.length && ["Held", queue.held_known ? "0" : "another process knows"],
    queue.expanding > 0 && ["Of large fan-outs, being created", upTo(queue.expanding)],
    ["Breakers open or probing", count(queue.breakers_open + queue.breakers_half_open), "BreakersOpen", "/subscriptions?show=attention"],
    ["Workers’ slots in use", used(sum("busy_slots"), sum("slots")), "NoWorker"],
    ["Doorbells in Redis", doorbells === null ? "–" : count(doorbells), "RedisAway"],
  ].filter(Boolean);
  return html`
    <${Card} title="Queue" kind="flush" actions=${html`<span class="small mute">of all tenants; lists show one</span>`}>
      <${Table} label="Queue" rows=${rows} id=${([name]) => name} columns=${[
        { title: "What", cell: ([name, , runbook, to]) => html`${to ? html`<a class="cellmain" href=${link(to)}>${name}</a>` : html`<span class="cellmain">${name}</span>`}${runbook && html`<div class="cellsub"><${Runbook} name=${runbook} /></div>`}` },
        { title: "Now", kind: "num", cell: ([, value]) => value },
      ]} />
    <//>
  `;
}

/** @param {{postgres: any}} props */
function Partitions({ postgres: { partitions, partition_count: number, partitions_until: until } }) {
  const days = new Map();
  for (const { from_time: from, table, rows, bytes: size } of partitions) {
    if (Date.parse(from) > Date.now()) continue;
    const found = days.get(from) || { id: from, size: 0 };
    days.set(from, { ...found, size: found.size + size, [table]: rows });
  }
  const rows = (title, table) => ({ title, kind: "num lo", cell: (day) => (day[table] === null ? "–" : count(day[table] || 0)) });
  return html`
    <${Card} title="Partitions" kind="flush" actions=${html`<span class="small"><${Runbook} name="RetentionBehind" /></span>`}>
      <${Table} label="Partitions by day" rows=${[...days.values()]} columns=${[
        { title: "Day, in UTC", cell: (day) => day.id.slice(0, 10) },
        rows("Events", "webhook_events"),
        rows("Deliveries", "webhook_deliveries"),
        rows("Attempts", "delivery_attempts"),
        { title: "Size", kind: "num", cell: (day) => bytes(day.size) },
      ]} />
      <p class="small mute center">${plural(number, "partition")}, made ahead until ${until?.slice(0, 10)}. Rows are estimates of Postgres.</p>
    <//>
  `;
}
