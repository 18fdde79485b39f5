// A new subscription: where events go, which, as what, how they are signed, and a test before anything depends on it.
import { html, useState } from "../../lib/html.js";
import { all, allowed, call, curl, get, session } from "../../lib/api.js";
import { link } from "../../lib/router.js";
import { Button, Card, Check, Code, Empty, Failure, Icon, Input, Page, Select, toast } from "../../lib/ui.js";
import { useAction, useQuery } from "../../lib/query.js";
import { Secret, newSecret } from "./signing.js";
import { Template, secretsOf, templateInputs, templateOf } from "./template.js";
import { Tested } from "./test.js";

const STEPS = ["Endpoint", "Events", "Signing", "Test"];
const PATH = "/api/v1/subscriptions";

/** Return the event types that there are: those of the catalog, which say what they are, and those of the last 7 days. */
async function knownTypes(abort) {
  const seen = get("/api/v1/stats/series", { group_by: "event_type", step: "1d", limit: 50, from: new Date(Date.now() - 7 * 86_400_000).toISOString() }, abort);
  // The catalog is not for customers.
  const catalog = session.value?.caller?.role === "portal" ? [] : (await all("/api/v1/event-types", {}, abort, 200)).items;
  const names = (await seen).groups.map((group) => group.group).filter((type) => type && type !== "other");
  return { catalog, seen: names.filter((type) => !catalog.some(({ name }) => name === type)) };
}

export default function NewSubscription() {
  const [value, set] = useState({ destination: "http", target_url: "", name: "", all: true, types: /** @type {string[]} */ ([]), typed: "", filter: "", filter_on_error: "deliver", scheme: "hmac-sha256", ...templateInputs({ template: null }) });
  const [created, show] = useState(/** @type {any} */ (null));
  // So that the receiver can have it before the test.
  const [secret] = useState(() => (allowed("secrets") ? newSecret() : ""));
  const [tested, setTested] = useState(/** @type {any} */ (null));
  const known = useQuery(knownTypes, []);
  const types = value.all ? [] : [...new Set([...value.types, ...value.typed.split(/[\s,]+/).filter(Boolean)])];
  const pulled = value.destination === "pull";
  const shared = value.scheme === "hmac-sha256" && secret;
  const template = templateOf(value), secrets = template ? secretsOf(value) : {};
  const made = {
    ...(value.filter.trim() ? { filter: value.filter.trim(), ...(value.filter_on_error === "deliver" ? {} : { filter_on_error: value.filter_on_error }) } : {}),
    ...(template ? { template } : {}),
    ...(Object.keys(secrets).length ? { template_secrets: secrets } : {}),
  };
  const body = { ...(pulled ? { destination: "pull" } : { target_url: value.target_url.trim() }), ...(value.name ? { name: value.name } : {}), event_types: types, ...made, ...(value.scheme === "hmac-sha256" ? {} : { signature_scheme: value.scheme }), ...(shared ? { secret_key: secret } : {}) };
  const what = JSON.stringify(body);
  // Of what is in the form now.
  const attempt = tested?.of === what ? tested.attempt : undefined;
  const tests = !pulled && allowed("test");
  const act = useAction(async (path) => {
    const found = await call("POST", path, { body });
    if (path !== PATH) return void setTested({ of: what, attempt: found.attempt });
    show(found);
    toast("The subscription has been created");
    scrollTo(0, 0);
  });
  const choose = (type) => set({ ...value, types: value.types.includes(type) ? value.types.filter((one) => one !== type) : [...value.types, type] });
  const problem = act.error;
  const wrong = (name) => problem?.of?.(name);
  const put = (name) => (event) => set({ ...value, [name]: event.currentTarget.value });
  const step = created || tested ? 3 : value.target_url || pulled ? (types.length || value.all ? 2 : 1) : 0;
  const submit = (event) => {
    event.preventDefault();
    act.run(tests && (!attempt || attempt.error) ? `${PATH}/test` : PATH);
  };
  const create = (event) => event.currentTarget.form.reportValidity() && act.run(PATH);
  if (!allowed("create")) {
    return html`<${Page} title="New subscription" back=${{ href: "/subscriptions", label: "Subscriptions" }}><${Card}><${Empty} icon="lock" title="You may not create subscriptions"><p>Ask whoever gave you access.</p><//><//><//>`;
  }
  return html`
    <${Page} title=${created ? "The subscription is there" : "New subscription"} name="New subscription" back=${{ href: "/subscriptions", label: "Subscriptions" }}
      about=${created ? html`Events that are accepted from now on ${created.target_url ? html`are delivered to <span class="mono">${created.target_url}</span>` : "wait for consumers that pull them"}.` : "Where events go, and which."}>
      <ol class="steps" aria-label="Steps">${STEPS.map((name, index) => html`<li key=${name} aria-current=${index === step ? "step" : undefined}>${name}</li>`)}</ol>
      ${created
        ? html`
            ${(created.secret_key || shared) && html`<${Card} title="Signing secret"><${Secret} secret=${created.secret_key || secret} /><//>`}
            ${created.public_keys.length > 0 && html`<${Card} title="Public key"><p class="mute">Receivers verify deliveries with it. It is not secret, and is shown on the subscription’s page.</p><${Code} wrap label="Public key" text=${created.public_keys[0].public_key} /><//>`}
            ${created.destination === "pull" && html`<${Card} title="Pull from it"><${Code} wrap label="Pull deliveries" text=${curl("POST", `${PATH}/${created.id}/pull`, { max_deliveries: 10, wait_seconds: 20 })} /><//>`}
            <div class="actions">
              <${Button} href=${link(`/subscriptions/${created.id}`)}>Go to the subscription<//>
              <${Button} href=${link("/events?send=1")} icon="send">Send an event<//>
            </div>
          `
        : html`
            <form class="stack" onSubmit=${submit}>
              <${Card} title="Endpoint">
                <div class="form">
                  <${Select} label="Destination" hint=${pulled ? "Consumers lease deliveries by requests of their own: for receivers that cannot be reached." : "Each delivery is a request to your URL."} error=${wrong("destination")} value=${value.destination} onChange=${put("destination")} options=${[["http", "Send to a URL"], ["pull", "Consumers pull"]]} />
                  ${!pulled && html`<${Input} label="URL" hint="Deliveries are POSTed to it. It must respond with 2xx in time." error=${wrong("target_url")} type="url" class="mono" required placeholder="https://example.com/webhooks" value=${value.target_url} onInput=${put("target_url")} autocomplete="url" />`}
                  <${Input} label="Name (optional)" hint="a–z 0–9 . _ -; to find it by." error=${wrong("name")} maxlength="64" value=${value.name} onInput=${put("name")} />
                </div>
              <//>
              <${Card} title="Events">
                <fieldset class="stack">
                  <legend class="unseen">Which events</legend>
                  <label class="check"><input type="radio" name="all" checked=${value.all} onChange=${() => set({ ...value, all: true })} /><span class="strong">Every event type</span></label>
                  <label class="check"><input type="radio" name="all" checked=${!value.all} onChange=${() => set({ ...value, all: false })} /><span class="strong">Only some types</span></label>
                </fieldset>
                ${!value.all &&
                html`
                  <${Failure} compact error=${known.error} retry=${known.refresh} />
                  ${known.data?.catalog.length > 0 &&
                  html`
                    <fieldset class="stack">
                      <legend>In the catalog</legend>
                      ${known.data.catalog.map(({ name, description }) => html`<${Check} key=${name} label=${html`<span class="mono">${name}</span>`} hint=${description} checked=${value.types.includes(name)} onChange=${() => choose(name)} />`)}
                    </fieldset>
                  `}
                  ${known.data?.seen.length > 0 &&
                  html`
                    <fieldset class="stack">
                      <legend>Seen in the last 7 days</legend>
                      <div class="row">
                        ${known.data.seen.map((type) => html`<button type="button" class="button small" aria-pressed=${value.types.includes(type)} key=${type} onClick=${() => choose(type)}><${Icon} name=${value.types.includes(type) ? "check" : "plus"} size=${14} />${type}</button>`)}
                      </div>
                    </fieldset>
                  `}
                  <${Input} label="Types" hint="Separated by commas. order.* stands for all types that begin with order." error=${wrong("event_types")} class="mono" placeholder="order.*, invoice.paid" value=${value.typed} onInput=${put("typed")} />
                `}
                <${Input} as="textarea" label="Filter (optional)" hint=${html`A condition in CEL that events also have to fulfill, such as <code>event.data.amount > 100</code>.`} error=${wrong("filter")} class="mono" rows="2" value=${value.filter} onInput=${put("filter")} />
                ${value.filter.trim() && html`<${Check} label="Deliver events that the filter cannot be evaluated for" hint="Such as one without a field that it names." checked=${value.filter_on_error === "deliver"} onChange=${(checked) => set({ ...value, filter_on_error: checked ? "deliver" : "skip" })} />`}
              <//>
              <${Template} value=${value} set=${set} wrong=${wrong} base=${{ event_types: types, template_secret_names: [] }} may />
              <${Card} title="Signing">
                <${Select} label="Scheme" hint=${value.scheme === "none" ? "Receivers cannot tell deliveries from forgeries." : "Of Standard Webhooks: receivers verify with a library of their language."} error=${wrong("signature_scheme")} value=${value.scheme} onChange=${put("scheme")} options=${[["hmac-sha256", "HMAC with a shared secret"], ["ed25519", "Ed25519 with a public key"], ["none", "Not signed"]]} />
                ${shared && html`<p class="mute measure">Give it to the receiver before the test, if it verifies signatures. It is shown again when the subscription is created, and then no more.</p><${Code} wrap label="Signing secret" text=${secret} />`}
                ${tests && value.scheme === "ed25519" && html`<p class="mute measure">The test is signed with a key of its own: the public key is known when the subscription is created.</p>`}
              <//>
              ${tests &&
              html`
                <${Card} title="Test">
                  <p class="mute measure">Sends an event of the type <code>webhook.test</code> to the URL now, as a delivery would be sent. No subscription is needed for it, and none is created.</p>
                  <${Tested} attempt=${attempt} failed="Deliveries to it would be retried." />
                <//>
              `}
              <${Failure} error=${problem} />
              <div class="actions">
                ${tests && (!attempt || attempt.error) && html`<${Button} kind="primary" type="submit" icon="send" busy=${act.busy}>${attempt ? "Send another test event" : "Send a test event"}<//>`}
                ${tests && (!attempt || attempt.error)
                  ? html`<${Button} busy=${act.busy} onClick=${create}>${attempt ? "Create anyway" : "Create without a test"}<//>`
                  : html`<${Button} kind="primary" type="submit" busy=${act.busy}>Create the subscription<//>`}
              </div>
              ${(value.target_url || pulled) && html`<details><summary>The same with curl</summary>${tests && html`<${Code} wrap label="Send a test event" text=${curl("POST", `${PATH}/test`, body)} />`}<${Code} wrap label="Create a subscription" text=${curl("POST", PATH, body)} /></details>`}
            </form>
          `}
    <//>
  `;
}
