// The live stream: what workers record of deliveries, read once for all tabs of this browser.
import { session, send, tenant } from "./api.js";

const AGAIN_MS = 1000;
const WITHOUT_MS = 5000;

/**
 * Read the stream until it is aborted. It ends by itself now and then, and goes on where it was.
 * @param {string} topic @param {AbortSignal} abort @param {(message: any) => void} tell
 */
async function read(topic, abort, tell) {
  let position = "";
  while (!abort.aborted) {
    let wait = AGAIN_MS;
    try {
      const response = await send("GET", "/api/v1/stream", { query: { topic }, signal: abort, headers: position ? { "Last-Event-ID": position } : {} });
      tell({ live: true });
      const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (let part = await lines.read(); !part.done; part = await lines.read()) {
        const blocks = (rest + part.value).split("\n\n");
        rest = blocks.pop() || "";
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
          position = fields.id || position;
          if (fields.event === "reset") tell({ reset: true });
          else if (fields.data) tell(JSON.parse(fields.data));
        }
      }
    } catch (problem) {
      if (abort.aborted) return;
      // Without Redis there is no stream; the key or the session may have ended, too.
      wait = WITHOUT_MS;
      tell({ live: false });
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

/**
 * Hear what is recorded: `items`, or the numbers of a second, and how many were `dropped`, that something may be missed
 * (`reset`), and whether the stream can be read (`live`). One tab reads it, and tells the others: they would use up the
 * connections of the browser. Return what ends it.
 * @param {(message: any) => void} hear @param {"deliveries" | "stats"} [topic]
 */
export function follow(hear, topic = "deliveries") {
  const name = `webhooks ${topic} ${session.value?.caller?.key_id} ${tenant.value}`;
  const channel = new BroadcastChannel(name);
  let control = new AbortController();
  let state = false;
  const tell = (message) => {
    if ("live" in message) state = message.live;
    hear(message);
    channel.postMessage(message);
  };
  channel.onmessage = ({ data }) => {
    // A tab that comes later asks what the reader knows.
    if (data.ask) state && channel.postMessage({ live: true });
    else hear(data);
  };
  const begin = () => {
    control = new AbortController();
    const { signal } = control;
    const lead = () => read(topic, signal, tell).finally(() => (state = false));
    // Only a secure context has locks: https, or this machine.
    if (navigator.locks) navigator.locks.request(name, { signal }, lead).catch(() => {});
    else lead();
    channel.postMessage({ ask: true });
  };
  const turn = () => {
    control.abort();
    if (!document.hidden) begin();
  };
  document.addEventListener("visibilitychange", turn);
  turn();
  return () => {
    document.removeEventListener("visibilitychange", turn);
    control.abort();
    channel.close();
  };
}
