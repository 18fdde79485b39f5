// Settings of a subscription as a form: each value in effect, and whether it is its own or the default.
import { html, useState } from "../../lib/html.js";
import { allowed, curl, send } from "../../lib/api.js";
import { Button, Card, Check, Code, Failure, Icon, Input, Select, toast } from "../../lib/ui.js";
import { useAction } from "../../lib/query.js";
import { Schedule, described } from "../../lib/schedule.js";
import { VERIFY } from "./receiving.js";
import { Template, secretsOf, templateInputs, templateOf } from "./template.js";

const MERGE = { "Content-Type": "application/merge-patch+json" };
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const number = (text) => (text === "" ? null : Number(text));

/** Return a policy as what its inputs have. @param {any} policy */
function policyInputs(policy) {
  if (!policy) return { policy: "default" };
  if (policy.name) return { policy: policy.name };
  if (policy.delays_seconds) return { policy: "delays", delays: policy.delays_seconds.join(", ") };
  return { policy: "exponential", base: String(policy.base_seconds), factor: String(policy.factor), cap: String(policy.cap_seconds), limit: String(policy.limit) };
}

/** Return what the inputs say as a policy; null for the default. @param {any} value @returns {any} */
function policyOf(value) {
  if (value.policy === "default") return null;
  if (value.policy === "standard-webhooks") return { name: "standard-webhooks" };
  if (value.policy === "delays") return { delays_seconds: value.delays.split(/[\s,]+/).filter(Boolean).map(Number) };
  return { base_seconds: Number(value.base), factor: Number(value.factor), cap_seconds: Number(value.cap), limit: Number(value.limit) };
}

/** @param {Api.Subscription} subscription */
const inputs = (subscription) => ({
  target_url: subscription.target_url || "",
  name: subscription.name || "",
  description: subscription.description,
  event_types: subscription.event_types.join("\n"),
  filter: subscription.filter || "",
  filter_on_error: subscription.filter_on_error,
  metadata: Object.entries(subscription.metadata).map((pair) => pair.join("=")).join("\n"),
  event_versions: Object.entries(subscription.event_versions).map((pair) => pair.join("=")).join("\n"),
  rate_limit_per_second: subscription.rate_limit_per_second === null ? "" : String(subscription.rate_limit_per_second),
  rate_limit_burst: subscription.rate_limit_burst === null ? "" : String(subscription.rate_limit_burst),
  timeout_seconds: subscription.timeout_seconds === null ? "" : String(subscription.timeout_seconds),
  keep_when_disabled: subscription.keep_when_disabled,
  verify: subscription.verify,
  relay_headers: subscription.relay_headers,
  verification_secrets: "",
  headers: "",
  removed: /** @type {string[]} */ ([]),
  base: "10", factor: "3", cap: "3600", limit: "8", delays: "1, 60, 3600",
  ...policyInputs(subscription.retry_policy),
  ...templateInputs(subscription),
});

/** Return the merge patch from what was to what is. @param {any} before @param {any} after */
function patch(before, after) {
  const found = /** @type {Record<string, any>} */ ({});
  const changed = (name) => before[name] !== after[name];
  for (const name of ["target_url", "description", "keep_when_disabled", "verify", "relay_headers", "filter_on_error"]) if (changed(name)) found[name] = after[name];
  if (changed("name")) found.name = after.name || null;
  if (changed("filter")) found.filter = after.filter.trim() || null;
  if (changed("event_types")) found.event_types = lines(after.event_types);
  for (const name of ["rate_limit_per_second", "rate_limit_burst", "timeout_seconds"]) if (changed(name)) found[name] = number(after[name]);
  if (changed("metadata")) {
    const pairs = Object.fromEntries(lines(after.metadata).map((line) => [line.split("=")[0].trim(), line.slice(line.indexOf("=") + 1).trim()]));
    const old = Object.fromEntries(lines(before.metadata).map((line) => [line.split("=")[0], null]));
    found.metadata = { ...old, ...pairs };
  }
  if (changed("event_versions")) {
    const pins = lines(after.event_versions).map((line) => [line.slice(0, line.lastIndexOf("=")).trim() || line, Number(line.slice(line.lastIndexOf("=") + 1))]);
    found.event_versions = pins.length ? Object.fromEntries(pins) : null;
  }
  if (after.verification_secrets.trim()) found.verification_secrets = lines(after.verification_secrets);
  const headers = Object.fromEntries(lines(after.headers).map((line) => [line.split(":")[0].trim(), line.slice(line.indexOf(":") + 1).trim()]));
  const removed = Object.fromEntries(after.removed.map((name) => [name, null]));
  if (Object.keys(headers).length || after.removed.length) found.headers = { ...removed, ...headers };
  if (["policy", "base", "factor", "cap", "limit", "delays"].some(changed)) {
    const policy = policyOf(after);
    // A patch is merged field by field: those of the kind before are taken away.
    const cleared = { name: null, delays_seconds: null, base_seconds: null, factor: null, cap_seconds: null, limit: null };
    found.retry_policy = policy && { ...Object.fromEntries(Object.entries(cleared).filter(([name]) => !(name in policy))), ...policy };
  }
  if (["template", "source", "content_type"].some(changed)) found.template = templateOf(after);
  if (after.template_secrets.trim()) found.template_secrets = secretsOf(after);
  return found;
}

/** @param {{subscription: Api.Subscription & {etag?: string}, path: string, onChanged: () => void}} props */
export function Settings({ subscription, path, onChanged }) {
  const [base, setBase] = useState(subscription);
  const before = inputs(base);
  const [value, set] = useState(before);
  const may = allowed("manage");
  const changes = patch(before, value);
  const dirty = Object.keys(changes).length > 0;
  const save = useAction(async () => {
    const response = await send("PATCH", path, { body: changes, headers: { ...MERGE, ...(base.etag ? { "If-Match": base.etag } : {}) } });
    const stored = { ...(await response.json()), etag: response.headers.get("etag") };
    setBase(stored);
    set(inputs(stored));
    toast("The settings are saved");
    onChanged();
  });
  const problem = save.error;
  const wrong = (name) => problem?.of?.(name);
  const put = (name) => (event) => set({ ...value, [name]: event.currentTarget.value });
  // Whether the value in effect is its own, or what applies otherwise.
  const origin = (own, otherwise) => (own ? `Its own value. Default: ${otherwise}.` : `The default: ${otherwise}.`);
  const submit = (event) => {
    event.preventDefault();
    save.run();
  };
  const text = (name, label, hint, more = {}) => html`
    <${Input} label=${label} hint=${hint} error=${wrong(name)} ...${more} value=${value[name]} onInput=${put(name)} />
  `;
  const area = (name, label, hint, rows = 3) => html`
    <${Input} as="textarea" label=${label} hint=${hint} error=${wrong(name)} rows=${rows} value=${value[name]} onInput=${put(name)} />
  `;
  const previewed = value.policy === "default" ? (subscription.retry_policy ? null : subscription.effective_retry_policy) : policyOf(value);
  const drawn = previewed && [...(previewed.delays_seconds || []), previewed.base_seconds ?? 1, previewed.factor ?? 1, previewed.cap_seconds ?? 1, previewed.limit ?? 1].every(Number.isFinite) && (previewed.limit ?? 0) <= 100;
  return html`
    <form class="stack" onSubmit=${submit}>
      <${Card} title="Endpoint">
        <fieldset class="form" disabled=${!may}>
          ${base.destination === "http" && text("target_url", "URL", base.header_names.length ? "Another host needs the headers again, so that credentials never go to another host." : "Deliveries are POSTed to it.", { type: "url", required: true, class: "mono" })}
          <div class="pair">
            ${text("name", "Name", "a–z 0–9 . _ -; to find it by.", { maxlength: 64 })}
            ${text("description", "Description", "For people.")}
          </div>
          ${area("event_types", "Event types", `One a line. order.* stands for all types that begin with order. ${origin(base.event_types.length, "every type")}`)}
          ${base.kind === "normal" && html`
            ${area("filter", "Filter", html`A condition in CEL that events also have to fulfill, such as <code>event.data.amount > 100</code>. ${origin(base.filter, "none")}${base.filter_stopped_at && html` <strong>It was stopped because it is too slow; save another one to start it again.</strong>`}`, 2)}
            <${Check} label="Deliver events that the filter cannot be evaluated for" hint=${`Such as one without a field that it names. ${origin(base.filter_on_error !== "deliver", "delivered")}`} checked=${value.filter_on_error === "deliver"} onChange=${(checked) => set({ ...value, filter_on_error: checked ? "deliver" : "skip" })} />
          `}
          ${base.kind === "normal" && area("event_versions", "Versions of events", `type=version, one a line, such as invoice.*=2. Later versions are converted to it, as the catalog says. ${origin(Object.keys(base.event_versions).length, "as they are")}`, 2)}
          ${area("metadata", "Metadata", "key=value, one a line; to find it by.", 2)}
        </fieldset>
      <//>
      ${base.destination === "http" && html`<${Card} title="Speed">
        <fieldset class="form" disabled=${!may}>
          <div class="pair">
            ${text("rate_limit_per_second", "Requests per second", origin(base.rate_limit_per_second !== null, "no limit"), { type: "number", min: 0.001, step: "any" })}
            ${text("rate_limit_burst", "Requests at once", origin(base.rate_limit_burst !== null, "one second’s worth of the rate"), { type: "number", min: 1 })}
            ${text("timeout_seconds", "Timeout, seconds", base.timeout_seconds === null ? origin(false, `${base.effective_timeout_seconds} s`) : origin(true, "the service’s"), { type: "number", min: 1, max: 30, step: "any" })}
          </div>
        </fieldset>
      <//>`}
      <${Card} title="Retries">
        <fieldset class="form" disabled=${!may}>
          <${Select} label="Policy" error=${wrong("retry_policy")} hint=${`${origin(base.retry_policy, "the service’s")} In effect: ${described(base.effective_retry_policy)}.`} value=${value.policy} onChange=${put("policy")} options=${[["default", "The service’s default"], ["standard-webhooks", "Standard Webhooks: nine within three days"], ["exponential", "Exponential"], ["delays", "Explicit delays"]]} />
          ${value.policy === "exponential" && html`<div class="pair">${text("base", "First delay, s", "", { type: "number", min: 0.001, step: "any", required: true })}${text("factor", "Factor", "", { type: "number", min: 1, step: "any", required: true })}${text("cap", "Longest delay, s", "", { type: "number", min: 0.001, step: "any", required: true })}${text("limit", "Retries", "", { type: "number", min: 0, max: 100, required: true })}</div>`}
          ${value.policy === "delays" && text("delays", "Delays in seconds", "One for each retry, separated by commas.", { required: true })}
          ${drawn && html`<${Schedule} policy=${previewed} />`}
        </fieldset>
      <//>
      <${Template} value=${value} set=${set} wrong=${wrong} base=${base} may=${may} />
      <${Card} title="Headers and what comes in">
        <fieldset class="form" disabled=${!may}>
          ${base.header_names.length > 0 && html`<fieldset class="stack"><legend>Headers that each request carries</legend>${base.header_names.map((name) => html`<${Check} label=${html`<span class="mono">${name}</span>`} checked=${!value.removed.includes(name)} onChange=${(kept) => set({ ...value, removed: kept ? value.removed.filter((one) => one !== name) : [...value.removed, name] })} />`)}<p class="hint">Values are stored encrypted and never shown.</p></fieldset>`}
          ${area("headers", "Add or replace headers", `Name: value, one a line. Values cannot be read again. ${origin(base.header_names.length, "none")}`, 2)}
          <${Select} label="Webhooks that come in" error=${wrong("verify")} hint=${`${VERIFY[value.verify][1]} ${origin(base.verify !== "auto", "if signed")}`} value=${value.verify} onChange=${put("verify")} options=${Object.entries(VERIFY).map(([key, [label]]) => [key, label])} />
          ${area("verification_secrets", "Secrets of the provider", base.has_verification_secret ? "Set. Empty keeps them; one or two, one a line, replace them." : "One, or two while the provider changes its secret.", 2)}
          <${Check} label="Relay the provider’s headers" hint=${`Deliveries have its own headers and signature, too, for receivers that use its library. ${origin(base.relay_headers, "not relayed")}`} checked=${value.relay_headers} onChange=${(checked) => set({ ...value, relay_headers: checked })} />
          <${Check} label="Keep events while it is disabled" hint=${`They are delivered once it is enabled. ${origin(!base.keep_when_disabled, "kept")}`} checked=${value.keep_when_disabled} onChange=${(checked) => set({ ...value, keep_when_disabled: checked })} />
        </fieldset>
      <//>
      <${Failure} error=${problem} />
      ${problem?.status === 412 && html`<div class="note warn"><${Icon} name="warn" /><span>Somebody has changed it meanwhile. Load it again, and repeat your change.</span> <${Button} kind="small" onClick=${() => location.reload()}>Load it again<//></div>`}
      ${may
        ? html`
            <div class="actions">
              <${Button} kind="primary" type="submit" busy=${save.busy} disabled=${!dirty || save.busy}>Save changes<//>
              ${dirty && html`<${Button} onClick=${() => set(before)}>Discard<//>`}
              ${!dirty && html`<span class="small mute">Nothing is changed.</span>`}
            </div>
            ${dirty && html`<details><summary>The same with curl</summary><${Code} wrap label="Change the subscription" text=${curl("PATCH", path, changes, {}, MERGE)} /></details>`}
          `
        : html`<p class="mute">You may not change it.</p>`}
    </form>
  `;
}
