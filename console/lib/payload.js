// The payload of an event: its exact bytes, and how it is shown.
import { html, useState } from "./html.js";
import { Problem, send } from "./api.js";
import { bytes, pretty, rawMember } from "./format.js";
import { link } from "./router.js";
import { decoded } from "./verify.js";
import { Code, Segments } from "./ui.js";

/** Return an event with its exact payload; null once it is no longer kept. @param {string} id @param {AbortSignal} [abort] */
export async function loadEvent(id, abort) {
  let text;
  try {
    text = await (await send("GET", `/api/v1/events/${id}`, { signal: abort })).text();
  } catch (problem) {
    if (problem instanceof Problem && [404, 410].includes(problem.status)) return null;
    throw problem;
  }
  const event = JSON.parse(text);
  if (event.payload_withheld) return { ...event, raw: null, bytes: new Uint8Array() };
  const raw = event.payload_base64 === undefined ? rawMember(text, "payload") : null;
  return { ...event, raw, bytes: raw === null ? decoded(event.payload_base64) : new TextEncoder().encode(raw) };
}

/** Return the bytes as text, if they are text. @param {Uint8Array} found */
function textOf(found) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(found);
  } catch {
    return null;
  }
}

/** Return the payload as verifying needs it. @param {any} event */
export const exactPayload = (event) => event && { bytes: event.bytes, text: event.raw ?? textOf(event.bytes) };

/** What an event is found by. @param {{tags: Record<string, string>}} props */
export const Tags = ({ tags }) => html`${Object.entries(tags).map((pair) => html`<div><a href=${link(`/deliveries?${new URLSearchParams({ tag: pair.join("="), since: "all" })}`)}>${pair.join("=")}</a></div>`)}`;

// Beyond this a browser takes long to lay the text out.
const MOST = 200_000;

/** @param {{event: any}} props */
export function Payload({ event }) {
  const [view, set] = useState("pretty");
  if (event.payload_withheld) return html`<p class="mute">${bytes(event.payload_bytes)}, which this link does not show.</p>`;
  const text = event.raw ?? textOf(event.bytes);
  const shown = text === null ? event.payload_base64 : view === "pretty" && event.raw !== null ? pretty(text) : text;
  return html`
    <div class="row">
      ${event.raw !== null && html`<${Segments} label="Payload" value=${view} onChange=${set} options=${[["pretty", "Pretty"], ["raw", "Raw"]]} />`}
      <span class="small mute">${event.content_type} · ${bytes(event.payload_bytes)}${event.content_encoding ? ` · ${event.content_encoding}` : ""}${text === null ? " · shown in base64" : ""}</span>
    </div>
    <${Code} label="Payload" wrap=${view === "raw" || event.raw === null} text=${shown.length > MOST ? `${shown.slice(0, MOST)}\n… cut here` : shown} />
  `;
}
