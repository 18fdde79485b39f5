// <webhook-portal>: shows a portal link in a frame, and requests another one through the page around it when that expires.
//
//   <webhook-portal link="/webhooks/portal-link"></webhook-portal>
//
// `link` is a path on that page's own server that responds to a POST with {"url": …}, as POST /api/v1/portal-links does. Or set
// the property `renew` to a function that returns a promise of the url.
const home = new URL(import.meta.url).origin;

class WebhookPortal extends HTMLElement {
  #frame = document.createElement("iframe");
  /** @type {(() => Promise<string>) | null} */
  renew = null;

  async #next() {
    const path = this.getAttribute("link");
    let url = await this.renew?.();
    if (!url && path) {
      const response = await fetch(path, { method: "POST", headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(`${path} returned ${response.status}`);
      url = (await response.json()).url;
    }
    if (!url) throw new Error("webhook-portal: set the attribute `link` or the property `renew`");
    return new URL(url, home).href;
  }

  /** @param {(url: string) => void} show */
  async #with(show) {
    try {
      show(await this.#next());
    } catch (error) {
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
    }
  }

  #heard = (/** @type {MessageEvent} */ event) => {
    const inside = this.#frame.contentWindow;
    if (event.source !== inside || event.origin !== home || event.data?.type !== "webhook-portal:ended") return;
    this.#with((url) => inside?.postMessage({ type: "webhook-portal:link", url }, home));
  };

  connectedCallback() {
    Object.assign(this.style, { display: this.style.display || "block", minHeight: this.style.minHeight || "40rem" });
    Object.assign(this.#frame.style, { border: "0", width: "100%", height: "100%", minHeight: "inherit", display: "block" });
    this.#frame.title = this.getAttribute("label") || "Webhooks";
    this.#frame.allow = "clipboard-write";
    if (!this.shadowRoot) this.attachShadow({ mode: "open" }).append(this.#frame);
    addEventListener("message", this.#heard);
    // A page may set `renew` right after it has made the element.
    queueMicrotask(() => this.#with((url) => (this.#frame.src = url)));
  }

  disconnectedCallback() {
    removeEventListener("message", this.#heard);
  }
}

customElements.define("webhook-portal", WebhookPortal);
