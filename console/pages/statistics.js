// Statistics over time: by outcome, subscription and event type, with percentiles, and two periods compared.
import { html } from "../lib/html.js";
import { get, save, url } from "../lib/api.js";
import { compact, count, iso, millis, ofInput, percent, toInput, zoned } from "../lib/format.js";
import { go, link, param, setQuery } from "../lib/router.js";
import { Button, Card, Curl, Empty, Failure, Options, Page, Segments, Skeleton, Table, Tile } from "../lib/ui.js";
import { useQuery } from "../lib/query.js";
import { Chart, begins, merged } from "../lib/chart.js";
import { nameOf, subscriptions } from "../lib/names.js";
import { errorName } from "../lib/words.js";
import { Ended, Median, change } from "../lib/totals.js";

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
// Groups of the compared period: with its steps no more than a request may ask for.
const OTHERS = 15;
const SUMS = ["deliveries", "attempts", "failed", "events"];
// What a period is compared with: how long before it the other one was.
const COMPARED = { "": "Not compared", before: "Compared with the time before", day: "Compared with a day before", week: "Compared with a week before", other: "Compared with another time" };

export default function Statistics() {
  const period = PERIODS[param("period")] ? param("period") : "24h";
  const [seconds, step] = PERIODS[period];
  const by = GROUPS.some(([key]) => key === param("by")) ? param("by") : "";
  const metric = METRICS[param("metric")] ? param("metric") : by === "outcome" ? "attempts" : "deliveries";
  const until = param("to");
  const compare = param("compare");
  const query = useQuery(
    async (abort) => {
      const to = until ? Date.parse(until) : Date.now();
      const from = to - seconds * 1000;
      const other = { before: from, day: to - 86_400_000, week: to - 7 * 86_400_000 }[compare] ?? Date.parse(compare) + seconds * 1000;
      const [now, before] = await Promise.all([
        get(PATH, { from: iso(from), to: until, step, group_by: by, limit: by ? 9 : undefined }, abort),
        // What is older than is kept is refused: then there is nothing to compare with.
        other ? get(PATH, { from: iso(other - seconds * 1000), to: iso(other), step, group_by: by, limit: by ? OTHERS : undefined }, abort).catch((problem) => (problem.status === 422 ? null : Promise.reject(problem))) : null,
      ]);
      return { now, before };
    },
    [period, by, until, compare],
    { every: until ? 0 : 15_000 },
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
    const search = new URLSearchParams({ from: now.from, to: now.to });
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
    if (before && !by) series.push({ label: "Compared", tone: "mute", dash: true, values: shrink(before.total.points).slice(0, points.length).map(pick) });
  }
  const moment = (name, label) => html`<label class="row small mute" title=${zoned()}>${label} <input type="datetime-local" value=${toInput(param(name))} onChange=${(event) => setQuery({ [name]: ofInput(event.currentTarget.value) || null })} /></label>`;
  const shown = compare && (COMPARED[compare] ? compare : "other");
  const show = (begin, end) => go(url("/deliveries", { from: iso(begin * 1000), to: iso(end * 1000) }));
  const past = before?.total.summary;
  const list = (query) => now && url("/deliveries", { ...query, from: now.from, to: now.to });
  const compared = (group, name) => {
    const was = before?.groups.find((one) => one.group === group.group)?.summary[name] ?? (before?.groups.length < OTHERS ? 0 : undefined);
    return html`<div class="cellsub">${change(group.summary[name], was)}</div>`;
  };
  const linked = (group, status, value, tone = "") => {
    const target = to(group.group);
    return html`${target ? html`<a class=${tone} href=${target + (status && `&status=${status}`)}>${count(value)}</a>` : count(value)}${compared(group, status || "attempts")}`;
  };
  return html`
    <${Page} title="Statistics" about="Counted exactly, and complete up to a few seconds ago."
      actions=${html`
        <${Segments} label="Period" value=${period} options=${Object.entries(PERIODS).map(([key, [, , text]]) => [key, text])} onChange=${(value) => setQuery({ period: value === "24h" ? null : value })} />
        <${Button} icon="download" disabled=${!now} onClick=${() => csv(now, before, name)}>CSV<//>
        <${Curl} items=${[{ label: "Statistics over time", method: "GET", path: PATH, query: { from: now?.from, to: until, step, group_by: by } }]} />
      `}>
      <div class="filters">
        <${Segments} label="Group by" value=${by} options=${GROUPS} onChange=${(value) => setQuery({ by: value, metric: null })} />
        <select aria-label="What is shown" onChange=${(event) => setQuery({ metric: event.currentTarget.value })}>
          <${Options} value=${metric} options=${Object.entries(METRICS)
            .filter(([key]) => !((by === "subscription" || by === "outcome") && key === "events") && !(by === "outcome" && key !== "attempts" && !key.startsWith("p")))
            .map(([key, [text]]) => [key, text])} />
        </select>
        <select aria-label="Compare" onChange=${(event) => setQuery({ compare: event.currentTarget.value === "other" ? now?.from : event.currentTarget.value })}>
          <${Options} value=${shown} options=${Object.entries(COMPARED)} />
        </select>
        ${shown === "other" && moment("compare", "Compared from")}
        ${moment("to", "Until")}
        ${shown && now && !before && html`<span class="small tone-warn">Nothing is kept of the compared period.</span>`}
      </div>
      <${Failure} error=${query.error} retry=${query.refresh} compact=${Boolean(now)} />
      <div class="tiles">
        <${Tile} label="Events" value=${summary ? compact(summary.events || 0) : "…"} href=${now && url("/events", { from: now.from, to: now.to })} note=${summary && change(summary.events || 0, past?.events)} />
        <${Ended} summary=${summary} past=${past} list=${list} />
        <${Median} summary=${summary} past=${past} href=${list({})} />
        <${Tile} label="Latency, 99%" value=${summary ? millis(summary.latency_ms?.p99) : "…"} href=${list({})} note=${past && `was ${millis(past.latency_ms?.p99)}`} />
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
            { title: "Attempts", kind: "num", cell: (group) => linked(group, "", group.summary.attempts) },
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

const COLUMNS = ["events", "attempts", "delivered", "failed", "cancelled", "delivery_success_rate", "attempt_success_rate"];
const LATENCIES = ["p50", "p95", "p99"];

/** Save the numbers of the period, and of the compared one, as they are. @param {any} now @param {any} before @param {(group: any) => string} name */
function csv(now, before, name) {
  // A cell that begins as a formula would be run by a spreadsheet.
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\n]|^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `"${/^[=+\-@\t]/.test(text) ? "'" : ""}${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [["period", "group", "from", "to", ...COLUMNS, ...LATENCIES.map((share) => `${share}_ms`)]];
  for (const [period, found] of Object.entries({ shown: now, compared: before })) {
    if (!found) continue;
    for (const [group, points] of [["total", found.total.points], ...found.groups.map((one) => [name(one.group), one.points])]) {
      for (const point of points) lines.push([period, group, point.window_start, point.window_end, ...COLUMNS.map((column) => point[column]), ...LATENCIES.map((share) => point.latency_ms?.[share])]);
    }
  }
  save(new Blob(lines.map((line) => `${line.map(cell)}\n`), { type: "text/csv" }), "statistics.csv");
}
