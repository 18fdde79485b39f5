// A retry schedule on a time axis.
import { html } from "./html.js";
import { duration, plural } from "./format.js";

const STANDARD = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400];

/** Return the delay before each retry, in seconds. @param {any} policy */
export function delays(policy) {
  if (policy.delays_seconds) return policy.delays_seconds;
  if (policy.name === "standard-webhooks") return STANDARD;
  return Array.from({ length: policy.limit || 0 }, (_, index) => Math.min(policy.base_seconds * policy.factor ** index, policy.cap_seconds));
}

/** Return a schedule in a few words. @param {any} policy */
export function described(policy) {
  const found = delays(policy);
  return found.length ? `${plural(found.length, "retry", "retries")} within ${duration(found.reduce((sum, delay) => sum + delay, 0))}` : "no retries";
}

/** @param {{policy: any}} props */
export function Schedule({ policy }) {
  const found = delays(policy);
  let sum = 0;
  const times = [0, ...found.map((delay) => (sum += delay))];
  const end = times[times.length - 1];
  // By the logarithm, for the first retries come within seconds and the last after days.
  const least = Math.max(Math.min(found[0] || 1, 60), 0.1);
  const scale = (time) => 12 + (336 * Math.log1p(time / least)) / Math.log1p(Math.max(end, least) / least);
  const marks = [1, 10, 60, 600, 3600, 6 * 3600, 86400, 3 * 86400, 7 * 86400].filter((time) => time > least * 0.8 && time <= end);
  let last = -100;
  const labels = marks.filter((time) => {
    const room = scale(time) - last > 52 && 360 - scale(time) > 0;
    if (room) last = scale(time);
    return room;
  });
  return html`
    <div class="stack">
      <svg class="schedule" viewBox="0 0 360 52" role="img" aria-label=${`Attempts at ${times.map((time) => (time ? duration(time) : "once")).join(", ")} after acceptance`}>
        <line x1="12" x2="348" y1="18" y2="18" />
        ${labels.map((time) => html`<line x1=${scale(time)} x2=${scale(time)} y1="14" y2="22" /><text x=${scale(time)} y="42" text-anchor=${scale(time) > 330 ? "end" : "middle"}>${duration(time)}</text>`)}
        <text x="4" y="42">at once</text>
        ${times.map((time, index) => html`<circle class=${index ? "" : "first"} cx=${scale(time)} cy="18" r="6"><title>${index ? `Retry ${index}, ${duration(time)} after the first attempt` : "The first attempt"}</title></circle>`)}
      </svg>
      <p class="small mute">
        ${found.length
          ? html`${plural(found.length, "retry", "retries")}, the last ${duration(end)} after the first attempt: <strong>an outage of ${duration(end)} is survived</strong> without losing a delivery.`
          : "No retries: a delivery that fails once has failed."}
      </p>
    </div>
  `;
}
