// One request to a receiver: what was sent, what came back, and where the time went.
import { html } from "./html.js";
import { exact, millis } from "./format.js";
import { link } from "./router.js";
import { Badge, Code, Shape, Time } from "./ui.js";
import { ERRORS, actorName, errorName } from "./words.js";

const PHASES = { dns: ["DNS", "s-info"], connect: ["connect", "s-warn"], tls: ["TLS", "s-violet"], first_byte: ["first byte", "s-ok"], body: ["body", "s-mute"] };

/** @param {{phases: {name: string, duration_ms: number}[]}} props */
export function Phases({ phases }) {
  const total = phases.reduce((sum, phase) => sum + phase.duration_ms, 0) || 1;
  return html`
    <div class="phases" aria-hidden="true">
      ${phases.map((phase) => html`<span class="phase ${PHASES[phase.name]?.[1]}" style=${{ width: `${(100 * phase.duration_ms) / total}%` }}></span>`)}
    </div>
    <ul aria-label="Phases">
      ${phases.map((phase) => html`<li><span class="dot ${PHASES[phase.name]?.[1]}"></span>${PHASES[phase.name]?.[0] || phase.name} ${millis(phase.duration_ms)}</li>`)}
    </ul>
  `;
}

/** @param {{headers: {name: string, value: string}[]}} props */
const Headers = ({ headers }) => html`<dl class="headers">${headers.map(({ name, value }) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;

/**
 * @param {{attempt: Api.Attempt, open?: boolean, more?: string}} props `more`: the list of those that failed in the same way.
 */
export function Attempt({ attempt, open = false, more }) {
  const { error, details, status_code: code } = attempt;
  const look = error ? (error.kind === "interrupted" ? { tone: "warn", icon: "warn", label: "Interrupted" } : { tone: "bad", icon: "cross", label: errorName(error.kind) }) : { tone: "ok", icon: "check", label: "Delivered" };
  return html`
    <${Shape} look=${look} />
    <div class="stack">
      <div>
        <div class="attempt">
          <span class="strong">Attempt ${attempt.number}</span>
          <${Badge} look=${{ ...look, label: code ? `${code} ${error ? "" : "OK"}`.trim() : look.label }} />
          <span class="mute small"><span class="num">${exact(attempt.started_at)}</span> · <${Time} at=${attempt.started_at} /> · ${millis(attempt.duration_ms)}${attempt.actor !== "system" ? ` · asked for by ${actorName(attempt.actor)}` : ""}</span>
        </div>
        ${error && html`<p class="break">${error.message}</p>`}
        ${error && ERRORS[error.kind] && html`<p class="hint">${ERRORS[error.kind][1]} ${more && html`<a href=${link(more)}>All that failed so</a>`}</p>`}
      </div>
      ${details && details.phases.length > 0 && html`<div><${Phases} phases=${details.phases} /></div>`}
      ${attempt.response_body && html`<div><h3 class="labelled">Response body</h3><${Code} wrap label="Response body" text=${attempt.response_body} /></div>`}
      ${details &&
      html`
        <details open=${open}>
          <summary>Headers and connection</summary>
          <div class="stack">
            ${details.address && html`<p class="small mute">Connected to <span class="mono">${details.address}</span>, ${details.connection_reused ? "over a connection that was open" : "over a new connection"}.</p>`}
            ${details.request_headers.length > 0 ? html`<div><h3 class="labelled">Request headers</h3><${Headers} headers=${details.request_headers} /></div>` : html`<p class="small mute">Nothing was sent.</p>`}
            ${details.response_headers.length > 0 && html`<div><h3 class="labelled">Response headers</h3><${Headers} headers=${details.response_headers} /></div>`}
            ${details.headers_cut && html`<p class="small mute">Longer headers were cut when they were recorded.</p>`}
          </div>
        </details>
      `}
    </div>
  `;
}
