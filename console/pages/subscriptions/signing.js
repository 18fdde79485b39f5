// How deliveries of a subscription are signed, and how its secret is rotated.
import { html, useState } from "../../lib/html.js";
import { allowed, call } from "../../lib/api.js";
import { Button, Card, Code, Copy, Dialog, Facts, Failure, Icon, Input, Select, Time, toast } from "../../lib/ui.js";
import { useAction } from "../../lib/query.js";

const SCHEMES = { "hmac-sha256": "HMAC-SHA256 with a shared secret (v1)", ed25519: "Ed25519: a private key that stays here (v1a)", none: "Not signed" };

/** Return a secret as Standard Webhooks has them. */
export const newSecret = () => `whsec_${btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))}`;

/** A secret that is shown once. @param {{secret: string}} props */
export const Secret = ({ secret }) => html`
  <div class="note ok"><${Icon} name="lock" /><span>Save this secret now: it is shown only once. The receiver verifies deliveries with it.</span></div>
  <${Code} wrap label="Signing secret" text=${secret} />
`;

/** @param {{subscription: Api.Subscription, path: string, onChanged: () => void}} props */
export function Signing({ subscription, path, onChanged }) {
  const [rotating, rotate] = useState(false);
  return html`
    <${Card} title="Signing" actions=${allowed("secrets") && html`<${Button} icon="key" onClick=${() => rotate(true)}>Rotate the secret<//>`}>
      <${Facts} items=${[
        ["Scheme", SCHEMES[subscription.signature_scheme]],
        ["Header", subscription.signature_scheme === "none" ? "–" : html`<span class="mono">webhook-signature</span>`],
        ["Old secrets that still sign", subscription.previous_secrets.length ? subscription.previous_secrets.map((one) => html`<div>one until <${Time} at=${one.expires_at} /></div>`) : "none"],
      ]} />
      ${subscription.public_keys.length > 0 &&
      html`
        <h3>Public keys</h3>
        ${subscription.public_keys.map((one) => html`<div class="row"><span class="mono break">${one.public_key}</span><${Copy} text=${one.public_key} label="Copy the public key" /><span class="small mute">${one.expires_at ? html`signs until <${Time} at=${one.expires_at} />` : "current"}</span></div>`)}
      `}
      ${subscription.signature_scheme === "none" && html`<div class="note warn"><${Icon} name="warn" /><span>Receivers cannot tell deliveries from forgeries. Rotate to give it a secret.</span></div>`}
    <//>
    ${rotating && html`<${Rotate} subscription=${subscription} path=${path} onClose=${() => { rotate(false); onChanged(); }} />`}
  `;
}

/** @param {{subscription: Api.Subscription, path: string, onClose: () => void}} props */
function Rotate({ subscription, path, onClose }) {
  const [value, set] = useState({ overlap_hours: "24", signature_scheme: subscription.signature_scheme === "none" ? "hmac-sha256" : subscription.signature_scheme, secret_key: "" });
  const [rotated, show] = useState(/** @type {any} */ (null));
  const put = (name) => (event) => set({ ...value, [name]: event.currentTarget.value });
  const act = useAction(async () => {
    const body = { overlap_hours: Number(value.overlap_hours), signature_scheme: value.signature_scheme, ...(value.secret_key ? { secret_key: value.secret_key } : {}) };
    show(await call("POST", `${path}/rotate-secret`, { body }));
    toast("The secret has been rotated");
  });
  const submit = (event) => {
    event.preventDefault();
    act.run();
  };
  if (rotated) {
    return html`
      <${Dialog} title="The secret has been rotated" onClose=${onClose} footer=${html`<${Button} kind="primary" onClick=${onClose}>Done<//>`}>
        ${rotated.secret_key ? html`<${Secret} secret=${rotated.secret_key} />` : rotated.public_keys.length ? html`<p>Receivers verify with the new public key:</p><${Code} wrap label="Public key" text=${rotated.public_keys[0].public_key} />` : html`<p>Deliveries are signed with your secret from now on.</p>`}
        <p class="mute">${rotated.previous_secrets.length ? html`Old secrets sign too until <${Time} at=${rotated.previous_secrets[0].expires_at} />, so that receivers can change in between.` : "No old secret is valid any more."}</p>
      <//>
    `;
  }
  const footer = html`<${Button} onClick=${onClose}>Close<//><${Button} kind="primary" type="submit" form="rotate" busy=${act.busy}>Rotate<//>`;
  return html`
    <${Dialog} title="Rotate the secret" onClose=${onClose} footer=${footer}>
      <form id="rotate" class="stack" onSubmit=${submit}>
        <${Input} label="Old secrets stay valid for (hours)" hint="Deliveries carry a signature of each in the meantime. 0 if the secret has leaked." error=${act.error?.of?.("overlap_hours")} type="number" min="0" step="any" required value=${value.overlap_hours} onInput=${put("overlap_hours")} />
        <${Select} label="Scheme" error=${act.error?.of?.("signature_scheme")} value=${value.signature_scheme} onChange=${put("signature_scheme")} options=${["hmac-sha256", "ed25519"].map((scheme) => [scheme, SCHEMES[scheme]])} />
        <${Input} label="A secret of your own" hint="Empty: one is made and shown once." error=${act.error?.of?.("secret_key")} type="password" class="mono" autocomplete="new-password" value=${value.secret_key} onInput=${put("secret_key")} />
      </form>
      <${Failure} compact error=${act.error} />
    <//>
  `;
}
