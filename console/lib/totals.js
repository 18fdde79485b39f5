// Tiles with what a period had: how deliveries ended, and how fast receivers responded.
import { html } from "./html.js";
import { compact, millis, percent, plural } from "./format.js";
import { Tile } from "./ui.js";

const shown = (summary, format) => (summary ? format(summary) : "…");

/** What a number was in the compared period, if there is one. @param {number} value @param {number | undefined} was */
export const change = (value, was) => was !== undefined && `was ${compact(was)}${was ? `, ${value >= was ? "+" : "−"}${percent(Math.abs(value - was) / was)}` : ""}`;

/**
 * @param {{summary: any, past?: any, list: (query: any) => string, all?: string, after?: string}} props `list`: returns the
 *   address of deliveries; `all`: what the success leads to; `after`: what follows the names.
 */
export const Ended = ({ summary, past, list, all = list({}), after = "" }) => html`
  <${Tile} label=${`Delivered${after}`} value=${shown(summary, (found) => compact(found.delivered))} href=${list({ status: "delivered" })}
    note=${summary && (change(summary.delivered, past?.delivered) || plural(summary.attempts, "attempt"))} />
  <${Tile} label=${`Failed${after}`} value=${shown(summary, (found) => compact(found.failed))} tone=${summary?.failed ? "bad" : ""} href=${list({ status: "failed" })}
    note=${summary && (change(summary.failed, past?.failed) || (summary.cancelled ? `${compact(summary.cancelled)} cancelled` : ""))} />
  <${Tile} label="Success" value=${shown(summary, (found) => percent(found.delivery_success_rate))} href=${all}
    note=${summary && (past ? `was ${percent(past.delivery_success_rate)}` : `${percent(summary.attempt_success_rate)} of attempts`)} />
`;

/** @param {{summary: any, past?: any, href: string, name?: string}} props */
export const Median = ({ summary, past, href }) => html`
  <${Tile} label="Latency, median" value=${shown(summary, (found) => millis(found.latency_ms?.p50))} href=${href}
    note=${summary?.latency_ms && (past ? `was ${millis(past.latency_ms?.p50)}` : `95%: ${millis(summary.latency_ms.p95)}`)} />
`;
