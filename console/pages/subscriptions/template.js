// The template of a subscription: a preset or a source, the names of its secrets, and what it makes of an event.
import { html, useState } from "../../lib/html.js";
import { call } from "../../lib/api.js";
import { Button, Card, Code, Failure, Input, Select } from "../../lib/ui.js";
import { useAction } from "../../lib/query.js";

const KINDS = { none: "None: the payload is sent", slack: "Slack", teams: "Microsoft Teams", discord: "Discord", "google-chat": "Google Chat", pagerduty: "PagerDuty", cloudevents: "CloudEvents, structured", "cloudevents-binary": "CloudEvents, binary", source: "A template of your own" };
const EVENT = '{"order": 42, "total": 9.90}';

/** Return a template as what its inputs have. @param {Pick<Api.Subscription, "template">} subscription */
export function templateInputs({ template }) {
  return {
    template: template ? template.preset || "source" : "none",
    source: template?.source || '{"text": "{{ event.type }}: {{ event.data.order }}"}',
    content_type: template?.content_type || "application/json",
    template_secrets: "",
  };
}

/** Return what the inputs say as a template; null for none. @param {any} value @returns {any} */
export function templateOf(value) {
  if (value.template === "none") return null;
  return value.template === "source" ? { source: value.source, content_type: value.content_type } : { preset: value.template };
}

/** Return the secrets that were typed, by name. @param {any} value @returns {Record<string, string>} */
export function secretsOf(value) {
  const lines = value.template_secrets.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => [line.split("=")[0].trim(), line.slice(line.indexOf("=") + 1).trim()]));
}

/**
 * The card of a template; `base` is the subscription, or what is known of one that is being made.
 * @param {{value: any, set: (value: any) => void, wrong: (name: string) => any, base: {id?: string, event_types: string[], template_secret_names: string[]}, may: boolean}} props
 */
export function Template({ value, set, wrong, base, may }) {
  const [event, setEvent] = useState({ type: base.event_types[0]?.replace(/\*$/, "created") || "order.created", payload: EVENT });
  const put = (name) => (happened) => set({ ...value, [name]: happened.currentTarget.value });
  const preview = useAction(async () => {
    let payload;
    try {
      payload = JSON.parse(event.payload);
    } catch {
      throw new Error("The payload to try is not JSON.");
    }
    return call("POST", "/api/v1/templates/preview", { body: { template: templateOf(value), template_secrets: secretsOf(value), event: { event_type: event.type || null, payload }, subscription_id: base.id } });
  });
  const [shown, show] = useState(/** @type {any} */ (null));
  const run = async () => show((await preview.run()) || null);
  return html`
    <${Card} title="Template">
      <fieldset class="form" disabled=${!may}>
        <${Select} label="What is sent" hint=${`Rendered for each attempt from the stored event. ${value.template === "none" ? "The default" : "Its own value. Default: none"}.`} error=${wrong("template") || wrong("template.preset")} value=${value.template} onChange=${put("template")} options=${Object.entries(KINDS)} />
        ${value.template === "source" && html`
          <${Input} as="textarea" label="Source" hint="{{ event.data.order }} writes a value. In JSON, text is escaped inside a string, and whole values are written elsewhere." error=${wrong("template.source")} class="mono" rows="8" value=${value.source} onInput=${put("source")} />
          <${Input} label="Content-Type" error=${wrong("template.content_type")} class="mono" required value=${value.content_type} onInput=${put("content_type")} />
        `}
        ${value.template !== "none" && html`
          <${Input} as="textarea" label="Secrets" hint=${base.template_secret_names.length ? `Set: ${base.template_secret_names.join(", ")}. Empty keeps them; others replace all of them.` : value.template === "pagerduty" ? "routing_key=…" : "name=value, one a line, for {{ secrets.name }}."} error=${wrong("template_secrets") || wrong("template_secrets.routing_key")} rows="2" value=${value.template_secrets} onInput=${put("template_secrets")} />
          <details>
            <summary>Preview</summary>
            <div class="stack">
              <${Input} label="Event type" class="mono" value=${event.type} onInput=${(happened) => setEvent({ ...event, type: happened.currentTarget.value })} />
              <${Input} as="textarea" label="Payload" class="mono" rows="4" value=${event.payload} onInput=${(happened) => setEvent({ ...event, payload: happened.currentTarget.value })} />
              <div class="actions"><${Button} busy=${preview.busy} onClick=${run}>Preview<//></div>
              <${Failure} compact error=${preview.error} />
              ${shown && (shown.error ? html`<div class="note warn" role="status"><span class="break">${shown.line ? `Line ${shown.line}: ` : ""}${shown.error}</span></div>` : html`<${Code} wrap label=${`What is sent, as ${shown.content_type}`} text=${shown.body} />`)}
            </div>
          </details>
        `}
      </fieldset>
    <//>
  `;
}
