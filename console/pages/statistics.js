// Statistics over time: by outcome, subscription and event type, with percentiles, and compared with the time before.
import { html } from "../lib/html.js";
import { get, url } from "../lib/api.js";
import { compact, count, iso, millis, percent } from "../lib/format.js";
import { go, link, param, setQuery } from "../lib/router.js";
import { Button, Card, Check, Curl, Empty, Failure, Page, Segments, Skeleton, Table, Tile } from "../lib/ui.js";
import { useQuery } from "../lib/query.js";
import { Chart, begins, merged } from "../lib/chart.js";
import { nameOf, subscriptions } from "../lib/names.js";
import { errorName } from "../lib/words.js";

const PATH = "/api/v1/stats/series";
const PERIODS = { "1h": [3600, "1m", "1 h"], "24h": [86400, "5m", "24 h"], "7d": [7 * 86400, "1h", "7 d"], "30d": [30 * 86400, "1d", "30 d"], "90d": [89 * 86400, "1d", "90 d"] };
const TONES = ["accent", "teal", "warn", "violet", "rose", "info", "olive", "brown", "ok", "bad"];
const METRICS = /** @type {Record<string, [string, (point: any) => number | null, (value: number) => string]>} */ ({
  deliveries: ["Deliveries", (point) => point.delivered + point.failed + point.cancelled, compact],
  attempts: ["Attempts", (point) => point.attempts, compact],
  failed: ["Failed deliveries", (point) => point.failed, compact],
  events: ["Events", (point) => point.events, compact],
  success: ["Success", (point) => point.delivery_success_rate, percent],
  p50: ["Latency, median", (point) => point.latency_ms?.p50 ?? null, millis],
  p95: ["Latency, 95%", (point) => point.latency_ms?.p95 ?? null, millis],
  p99: ["Latency, 99%", (point) => point.latency_ms?.p99 ?? null, millis],
});
const GROUPS = [["", "Total"], ["outcome", "Outcome"], ["subscription", "Subscription"], ["event_type", "Event type"]];
const SUMS = ["deliveries", "attempts", "failed", "events"];


export default function Statistics() {
  const period = PERIODS[param("period")] ? param("period") : "24h";
  const [seconds, step] = PERIODS[period];
  const by = GROUPS.some(([key]) => key === param("by")) ? param("by") : "";
  const metric = METRICS[param("metric")] ? param("metric") : by === "outcome" ? "attempts" : "deliveries";
  const compare = param("compare") === "1";
  const query = useQuery(
    async (abort) => {
      const to = Date.now();
      const from = to - seconds * 1000;
      const [now, before] = await Promise.all([
        get(PATH, { from: iso(from), step, group_by: by, limit: by ? 9 : undefined }, abort),
        // What is older than is kept is refused: then there is nothing to compare with.
        compare ? get(PATH, { from: iso(from - seconds * 1000), to: iso(from), step }, abort).catch((problem) => (problem.status === 422 ? null : Promise.reject(problem))) : null,
      ]);
      return { now, before };
    },
    [period, by, compare],
    { every: 15_000 },
  );
  const { now, before } = query.data || {};
  const summary = now?.total.summary;
  const [label, pick, format] = METRICS[metric];
  const known = subscriptions();
  const name = (group) => {
    if (group === null) return "no type";
    if (group === "other") return "all others";
    if (by === "subscription") return known.has(group) ? nameOf(known.get(group)) : `…${group.slice(-8)}`;
    return by === "outcome" ? (group === "success" ? "Success" : errorName(group)) : group;
  };
  const to = (group) => {
    const search = new URLSearchParams({ from: now.from });
    if (by === "subscription" && group !== "other") search.set("subscription_id", group);
    else if (by === "event_type" && group && group !== "other") search.set("event_type", group);
    else if (by === "outcome" && !["success", "failed", "cancelled", "other"].includes(group)) search.set("error_kind", group);
    else if (by === "outcome" && group !== "other") search.set("status", group === "success" ? "delivered" : group);
    else return null;
    return link(`/deliveries?${search}`);
  };
  const shrink = (points) => (SUMS.includes(metric) ? merged(points, 96) : points);
  const stacked = Boolean(by) && SUMS.includes(metric);
  const series = [];
  let times = /** @type {number[]} */ ([]);
  let width = 60;
  if (now) {
    const points = shrink(now.total.points);
    times = points.map(begins);
    width = points.length ? (Date.parse(points[0].window_end) - Date.parse(points[0].window_start)) / 1000 : 60;
    if (by) for (const [index, group] of now.groups.entries()) series.push({ label: name(group.group), tone: group.group === "success" ? "ok" : group.group === "other" ? "mute" : by === "outcome" ? ["bad", ...TONES][index % 11] : TONES[index % 10], values: shrink(group.points).map(pick) });
    else series.push({ label, tone: "accent", values: points.map(pick) });
    if (before && !by) series.push({ label: "Before", tone: "mute", dash: true, values: shrink(before.total.points).slice(0, points.length).map(pick) });
  }
  const show = (begin, end) => go(url("/deliveries", { from: iso(begin * 1000), to: iso(end * 1000) }));
  const change = (value, was) => (compare && before && was ? `${value >= was ? "+" : "−"}${percent(Math.abs(value - was) / was)} to the time before` : "");
  const past = before?.total.summary;
  const all = now && url("/deliveries", { from: now.from });
  const linked = (group, status, value, tone = "") => {
    const target = by !== "outcome" && to(group.group);
    return target ? html`<a class=${tone} href=${`${target}&status=${status}`}>${count(value)}</a>` : count(value);
  };
  return html`
    <${Page} title="Statistics" about="Counted exactly, and complete up to a few seconds ago."
      actions=${html`
        <${Segments} label="Period" value=${period} options=${Object.entries(PERIODS).map(([key, [, , text]]) => [key, text])} onChange=${(value) => setQuery({ period: value === "24h" ? null : value })} />
        <${Button} icon="download" disabled=${!now} onClick=${() => csv(now, name)}>CSV<//>
        <${Curl} items=${[{ label: "Statistics over time", method: "GET", path: PATH, query: { step, group_by: by } }]} />
      `}>
      <div class="filters">
        <${Segments} label="Group by" value=${by} options=${GROUPS} onChange=${(value) => setQuery({ by: value, metric: null })} />
        <select aria-label="What is shown" onChange=${(event) => setQuery({ metric: event.currentTarget.value })}>
          ${Object.entries(METRICS)
            .filter(([key]) => !((by === "subscription" || by === "outcome") && key === "events") && !(by === "outcome" && key !== "attempts" && !key.startsWith("p")))
            .map(([key, [text]]) => html`<option key=${key} value=${key} selected=${key === metric}>${text}</option>`)}
        </select>
        ${!by && html`<${Check} label="Compare with the time before" checked=${compare} onChange=${(on) => setQuery({ compare: on ? "1" : null })} />`}
      </div>
      <${Failure} error=${query.error} retry=${query.refresh} compact=${Boolean(now)} />
      <div class="tiles">
        <${Tile} label="Events" value=${summary ? compact(summary.events || 0) : "…"} href=${now && url("/events", { from: now.from })} note=${summary && change(summary.events, past?.events)} />
        <${Tile} label="Delivered" value=${summary ? compact(summary.delivered) : "…"} href=${now && url("/deliveries", { status: "delivered", from: now.from })} note=${summary && change(summary.delivered, past?.delivered)} />
        <${Tile} label="Failed" tone=${summary?.failed ? "bad" : ""} value=${summary ? compact(summary.failed) : "…"} href=${now && url("/deliveries", { status: "failed", from: now.from })} note=${summary && change(summary.failed, past?.failed)} />
        <${Tile} label="Success" value=${summary ? percent(summary.delivery_success_rate) : "…"} href=${all} note=${summary && `${percent(summary.attempt_success_rate)} of attempts`} />
        <${Tile} label="Latency, median" value=${summary ? millis(summary.latency_ms?.p50 ?? null) : "…"} href=${all} note=${summary?.latency_ms ? `mean ${millis(summary.latency_ms.mean)}` : ""} />
        <${Tile} label="Latency, 99%" value=${summary ? millis(summary.latency_ms?.p99 ?? null) : "…"} href=${all} note=${summary?.latency_ms ? `95%: ${millis(summary.latency_ms.p95)}` : ""} />
      </div>
      <${Card} title=${by ? `${label} by ${GROUPS.find(([key]) => key === by)[1].toLowerCase()}` : label}>
        ${!now && !query.error && html`<${Skeleton} rows=${7} />`}
        ${now && !series.length && html`<${Empty} icon="chart" title="Nothing happened in this time"><p>Numbers appear within seconds of the first attempt.</p><//>`}
        ${now && series.length > 0 && html`<${Chart} label=${label} times=${times} step=${width} series=${series} stacked=${stacked} format=${format} height=${280} onPick=${show} />`}
      <//>
      ${now?.groups.length > 0 &&
      html`
        <${Card} kind="flush" title="In all">
          <${Table} label="Groups" rows=${now.groups} id=${(group) => String(group.group)} columns=${[
            { title: GROUPS.find(([key]) => key === by)[1], cell: (group) => { const target = to(group.group); return target ? html`<a class="cellmain" data-row href=${target}>${name(group.group)}</a>` : html`<span class="cellmain">${name(group.group)}</span>`; } },
            by === "event_type" && { title: "Events", kind: "num", cell: (group) => count(group.summary.events || 0) },
            { title: "Attempts", kind: "num", cell: (group) => count(group.summary.attempts) },
            by !== "outcome" && { title: "Delivered", kind: "num lo", cell: (group) => linked(group, "delivered", group.summary.delivered) },
            by !== "outcome" && { title: "Failed", kind: "num", cell: (group) => linked(group, "failed", group.summary.failed, group.summary.failed ? "tone-bad" : "") },
            by !== "outcome" && { title: "Success", kind: "num", cell: (group) => percent(group.summary.delivery_success_rate) },
            { title: "Median", kind: "num lo", cell: (group) => millis(group.summary.latency_ms?.p50 ?? null) },
            { title: "99%", kind: "num lo", cell: (group) => millis(group.summary.latency_ms?.p99 ?? null) },
          ]} />
        <//>
      `}
    <//>
  `;
}

/** Save the numbers as they are. @param {any} now @param {(group: any) => string} name */
function csv(now, name) {
  const head = ["group", "from", "to", "events", "attempts", "delivered", "failed", "cancelled", "delivery_success_rate", "attempt_success_rate", "p50_ms", "p95_ms", "p99_ms"];
  // A cell that begins as a formula would be run by a spreadsheet.
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]|^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `"${/^[=+\-@\t]/.test(text) ? "'" : ""}${text.replaceAll('"', '""')}"` : text;
  };
  const line = (group) => (point) => [group, point.window_start, point.window_end, point.events, point.attempts, point.delivered, point.failed, point.cancelled, point.delivery_success_rate, point.attempt_success_rate, point.latency_ms?.p50, point.latency_ms?.p95, point.latency_ms?.p99].map(cell).join(",");
  const lines = [head.join(","), ...now.total.points.map(line("total")), ...now.groups.flatMap((group) => group.points.map(line(name(group.group))))];
  const at = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: at, download: "statistics.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(at), 10_000);
}
