// What comes in from a provider for one subscription: its URL, and how it is verified.
import { html, useState } from "../../lib/html.js";
import { allowed, call, curl } from "../../lib/api.js";
import { Button, Card, Code, Confirm, Facts, Failure, Icon, toast } from "../../lib/ui.js";
import { useAction } from "../../lib/query.js";

/** @type {Record<string, [string, string]>} */
export const VERIFY = {
  auto: ["If signed", "X-Hub-Signature-256 is verified where it is present."],
  required: ["Signature required", "X-Hub-Signature-256 must be present and valid."],
  github: ["GitHub", "Webhooks of GitHub, by X-Hub-Signature-256."],
  stripe: ["Stripe", "Webhooks of Stripe, by Stripe-Signature."],
  shopify: ["Shopify", "Webhooks of Shopify, by X-Shopify-Hmac-SHA256."],
  slack: ["Slack", "Events of Slack, by X-Slack-Signature."],
  "standard-webhooks": ["Standard Webhooks", "By webhook-signature, as Standard Webhooks has it."],
  none: ["Not verified", "Signatures are ignored."],
};

/** @param {{subscription: Api.Subscription, path: string, onChanged: () => void}} props */
export function Receiving({ subscription, path, onChanged }) {
  const [token, show] = useState(/** @type {any} */ (null));
  const [asking, ask] = useState("");
  const create = useAction(async () => {
    show(await call("POST", `${path}/ingest-token`));
    onChanged();
  });
  const may = allowed("secrets");
  const own = `/api/v1/webhooks/ingest/${subscription.id}`;
  return html`
    <${Card} title="Where a provider sends its webhooks">
      <p class="mute measure">A webhook that comes in here is verified, stored, and delivered to this subscription only.</p>
      <${Facts} items=${[
        ["Verification", VERIFY[subscription.verify][0]],
        ["What it means", VERIFY[subscription.verify][1]],
        ["Secrets of the provider", subscription.has_verification_secret ? "set" : "none: the signing secret is used"],
        ["Headers of the provider", subscription.relay_headers ? "relayed with deliveries" : "not relayed"],
        ["URL with a token", subscription.has_ingest_token ? "there is one" : "none"],
      ]} />
      <h3>With an API key</h3>
      <${Code} wrap label="Send a webhook with an API key" text=${curl("POST", own, { hello: "world" })} />
      <h3>With a token in the URL</h3>
      <p class="mute measure">For providers that cannot send an API key. The token allows nothing but sending to this subscription.</p>
      ${token?.path &&
      html`
        <div class="note ok"><${Icon} name="lock" /><span>Save this URL now: it is shown only once.</span></div>
        <${Code} wrap label="URL with the token" text=${location.origin + token.path} />
      `}
      ${may &&
      html`
        <div class="row">
          <${Button} icon="key" kind=${subscription.has_ingest_token ? "" : "primary"} busy=${create.busy} onClick=${() => (subscription.has_ingest_token ? ask("replace") : create.run())}>${subscription.has_ingest_token ? "Replace the token" : "Create a URL with a token"}<//>
          ${subscription.has_ingest_token && html`<${Button} icon="trash" onClick=${() => ask("delete")}>Delete the token<//>`}
        </div>
      `}
      <${Failure} compact error=${create.error} />
    <//>
    ${asking === "replace" && html`<${Confirm} title="Replace the token?" label="Replace" danger onClose=${() => ask("")} act=${async () => { show(await call("POST", `${path}/ingest-token`)); onChanged(); }}><p>Requests with the old URL are refused at once.</p><//>`}
    ${asking === "delete" && html`<${Confirm} title="Delete the token?" label="Delete" danger onClose=${() => ask("")} act=${async () => { await call("DELETE", `${path}/ingest-token`); show(null); toast("The token is deleted"); onChanged(); }}><p>Requests with its URL are refused at once.</p><//>`}
  `;
}
