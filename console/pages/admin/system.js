// The service itself: whether it can do its work, and what it runs.
import { html } from "../../lib/html.js";
import { Problem, get, session } from "../../lib/api.js";
import { compact, millis, percent } from "../../lib/format.js";
import { Badge, Card, Curl, Facts, Failure, Loaded, Page, Table, Tile, Time } from "../../lib/ui.js";
import { useQuery } from "../../lib/query.js";
import { OnlyAdmins } from "./only.js";

/** What it means that a part is away, in the words of the runbooks. @type {Record<string, string>} */
const MEANS = {
  postgres: "Nothing can be accepted or delivered until it is back. Callers get 503 and try again; nothing that was accepted is lost.",
  redis: "Deliveries go on, found in Postgres a little later. Nothing is lost.",
  ingest: "Nothing can be accepted until it is back.",
  delivery: "Deliveries cannot be looked at, and retries are not found, until it is back.",
  analytics: "Statistics are missing until it is back. Deliveries go on.",
  dispatcher: "Retries and what is held are not sent until a dispatcher runs.",
  clock: "The clock of this machine is off. Times may be wrong; synchronize it.",
};

async function readiness(abort) {
  for (const path of ["/readyz", "/livez"]) {
    try {
      return { path, ...(await get(path, {}, abort)) };
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 503) return { path, status: "not ready" };
    }
  }
  return { path: "", status: "unknown" };
}

export default function System() {
  const ready = useQuery(readiness, [], { every: 5000 });
  const stats = useQuery((abort) => get("/api/v1/stats", { window: "15m" }, abort), [], { every: 10_000 });
  const summary = stats.data;
  return html`
    <${OnlyAdmins} title="System">
      <${Page} title="System" about="Whether the service can do its work."
        actions=${html`<${Curl} items=${[{ label: "Readiness", method: "GET", path: "/readyz" }, { label: "Statistics of the last 15 minutes", method: "GET", path: "/api/v1/stats", query: { window: "15m" } }]} />`}>
        <${Loaded} query=${ready} rows=${3}>
          ${(data) => {
            const degraded = Object.entries(data.degraded || {});
            const ok = data.status === "ready" || data.status === "ok" || data.status === "alive";
            return html`
              <${Card} title="Health">
                <div class="status">
                  <${Badge} look=${degraded.length ? { tone: "warn", icon: "warn", label: "Degraded" } : ok ? { tone: "ok", icon: "check", label: "Ready" } : { tone: "bad", icon: "cross", label: "Not ready" }} />
                  <p class="grow small">${degraded.length ? "It works, but something behind it is away:" : ok ? "Everything that the gateway needs works." : "The gateway cannot do its work."}</p>
                </div>
                ${degraded.length > 0 &&
                html`<${Table} label="What is away" rows=${degraded} id=${([name]) => name} columns=${[
                  { title: "Part", cell: ([name]) => html`<span class="cellmain">${name}</span>` },
                  { title: "What it says", cell: ([, why]) => html`<span class="mono break">${String(why)}</span>` },
                  { title: "What it means", cell: ([name]) => MEANS[name.split(".").pop()] || "" },
                ]} />`}
                ${data.path === "/livez" && html`<p class="small mute">Details of its health are on the port for operations, at <span class="mono">/readyz</span>.</p>`}
              <//>
            `;
          }}
        <//>
        <${Failure} error=${stats.error} retry=${stats.refresh} compact />
        <div class="tiles">
          <${Tile} label="Events, 15 min" value=${summary ? compact(summary.events || 0) : "…"} href=${summary && `/events?${new URLSearchParams({ from: summary.window_start })}`} note=${summary && `${compact(Math.round((10 * (summary.events || 0)) / 900) / 10)} a second`} />
          <${Tile} label="Attempts, 15 min" href="/statistics?period=1h&metric=attempts" value=${summary ? compact(summary.attempts) : "…"} note=${summary && `${compact(Math.round((10 * summary.attempts) / 900) / 10)} a second`} />
          <${Tile} label="Success of attempts" href="/statistics?period=1h&metric=success" value=${summary ? percent(summary.attempt_success_rate) : "…"} />
          <${Tile} label="Latency, 95%" href="/statistics?period=1h&metric=p95" value=${summary ? millis(summary.latency_ms?.p95 ?? null) : "…"} note="of the receivers" />
        </div>
        <${Card} title="About">
          <${Facts} items=${[
            ["Version", session.value?.version || "–"],
            ["API keys", session.value?.required ? "required" : "not required: development"],
            ["Statistics complete to", summary ? html`<${Time} at=${summary.window_end} />` : "…"],
          ]} />
          <p class="small mute">Metrics are on the port for operations, at <span class="mono">/metrics</span>.</p>
        <//>
      <//>
    <//>
  `;
}
