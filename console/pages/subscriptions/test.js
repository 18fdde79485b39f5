// A test event: sent now, and how the receiver responds.
import { html, useState } from "../../lib/html.js";
import { allowed, call } from "../../lib/api.js";
import { Button, Failure, Icon } from "../../lib/ui.js";
import { useAction } from "../../lib/query.js";
import { Attempt } from "../../lib/attempt.js";

/** What a test event got. @param {{attempt: Api.Attempt | undefined, failed?: string}} props `failed`: what it means if it failed. */
export const Tested = ({ attempt, failed = "" }) => html`
  <div role="status" class="stack">
    ${attempt &&
    html`
      <div class="note ${attempt.error ? "warn" : "ok"}"><${Icon} name=${attempt.error ? "warn" : "check"} /><span>${attempt.error ? `The endpoint did not accept the event. ${failed}` : "The endpoint works: it responded with 2xx."}</span></div>
      <ol class="timeline"><li><${Attempt} attempt=${attempt} open=${Boolean(attempt.error)} /></li></ol>
    `}
  </div>
`;

/** @param {{subscription: Api.Subscription, path: string}} props */
export function Test({ subscription, path }) {
  const [tested, set] = useState(/** @type {any} */ (null));
  const test = useAction(async () => set(await call("POST", `${path}/test`)));
  if (!allowed("test")) return html`<p class="mute">You may not send test events.</p>`;
  return html`
    <div class="stack">
      <p class="mute measure">Sends an event of the type <code>webhook.test</code> now and waits for the response. It is signed as every delivery is, and is in no list and no statistics.</p>
      <div><${Button} kind=${tested ? "" : "primary"} icon="send" busy=${test.busy} onClick=${test.run}>${tested ? "Send another test event" : "Send a test event"}<//></div>
      <${Failure} compact error=${test.error} />
      <${Tested} attempt=${tested?.attempt} failed=${subscription.status === "active" ? "Deliveries to it would be retried." : ""} />
    </div>
  `;
}
