// A test event: sent now, and how the receiver responds.
import { html, useState } from "../../lib/html.js";
import { allowed, call } from "../../lib/api.js";
import { Button, Failure, Icon } from "../../lib/ui.js";
import { useAction } from "../../lib/query.js";
import { Attempt } from "../../lib/attempt.js";

/** @param {{subscription: Api.Subscription, path: string, kind?: string}} props */
export function Test({ subscription, path, kind = "primary" }) {
  const [tested, set] = useState(/** @type {any} */ (null));
  const test = useAction(async () => set(await call("POST", `${path}/test`)));
  if (!allowed("test")) return html`<p class="mute">Test events need a key with the role write.</p>`;
  const ok = tested && !tested.attempt.error;
  return html`
    <div class="stack">
      <p class="mute measure">Sends an event of the type <code>webhook.test</code> now and waits for the response. It is signed as every delivery is, and is in no list and no statistics.</p>
      <div><${Button} kind=${tested ? "" : kind} icon="send" busy=${test.busy} onClick=${test.run}>${tested ? "Send another test event" : "Send a test event"}<//></div>
      <${Failure} compact error=${test.error} />
      <div role="status" class="stack">
        ${tested &&
        html`
          <div class="note ${ok ? "ok" : "warn"}"><${Icon} name=${ok ? "check" : "warn"} /><span>${ok ? "The endpoint works: it responded with 2xx." : `The endpoint did not accept the event. ${subscription.status === "active" ? "Deliveries to it would be retried." : ""}`}</span></div>
          <ol class="timeline"><li><${Attempt} attempt=${tested.attempt} open=${!ok} /></li></ol>
        `}
      </div>
    </div>
  `;
}
