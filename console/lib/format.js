// Numbers, bytes and times for people.
import { computed, signal } from "./html.js";

/** The time, once a second while somebody looks. */
export const now = signal(Date.now());
setInterval(() => document.hidden || (now.value = Date.now()), 1000);
document.addEventListener("visibilitychange", () => document.hidden || (now.value = Date.now()));

const remembered = (name, otherwise) => {
  try {
    return localStorage.getItem(name) || otherwise;
  } catch {
    return otherwise;
  }
};

/** Remember a choice of this browser. @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // A browser may refuse to store anything; then the choice lasts as long as the page.
  }
}

/** "local" or "utc". */
export const zone = signal(remembered("zone", "local"));
/** "auto", "light" or "dark". */
export const theme = signal(remembered("theme", "auto"));

const utc = () => (zone.value === "utc" ? { timeZone: "UTC" } : {});
const formats = computed(() => {
  const date = { year: "numeric", month: "2-digit", day: "2-digit" };
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const make = (options) => new Intl.DateTimeFormat("en-CA", { ...options, ...utc() });
  return {
    full: make({ ...date, ...clock, fractionalSecondDigits: 3, timeZoneName: "short" }),
    whole: make({ ...date, ...clock, timeZoneName: "short" }),
    minute: make({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
    clock: make({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
    second: make({ ...clock, fractionalSecondDigits: 3 }),
    day: make({ month: "short", day: "numeric" }),
    year: make(date),
  };
});

/** RFC 3339, as the API wants times. @param {number | string} at */
export const iso = (at) => new Date(at).toISOString();
/** Return a time in full. @param {string | number} at */
export const absolute = (at) => formats.value.full.format(new Date(at));
/** Return a time in full, to the second. @param {string | number} at */
export const whole = (at) => formats.value.whole.format(new Date(at)).replace(",", "");
/** Return a day and a time, to the minute. @param {string | number} at */
export const minute = (at) => formats.value.minute.format(new Date(at));
/** Return the time of the day. @param {string | number} at */
export const clock = (at) => formats.value.clock.format(new Date(at));
/** Return the time of the day to the millisecond. @param {string | number} at */
export const exact = (at) => formats.value.second.format(new Date(at));
/** Return a day. @param {string | number} at */
export const day = (at) => formats.value.day.format(new Date(at));
/** Return a date with its year. @param {string | number} at */
export const date = (at) => formats.value.year.format(new Date(at));
/** Return a time for an input of a date and a time, which knows no zones. @param {string} at */
export const toInput = (at) => at && iso(Date.parse(at) - (zone.value === "utc" ? 0 : new Date(at).getTimezoneOffset() * 60_000)).slice(0, 16);
/** Return the time in such an input; empty without one. @param {string} text */
export const ofInput = (text) => text && iso(text + (zone.value === "utc" ? "Z" : ""));
/** Say in which zone such an input is. */
export const zoned = () => (zone.value === "utc" ? "In UTC" : "Local time");

/** Return a length of time, such as `2 h 5 min`. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.001) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? trimmed(seconds, 1) : Math.round(seconds)} s`;
  const units = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, size]) => seconds >= Number(size));
  const [unit, size] = units[first];
  const [next, part] = units[first + 1] || ["", 0];
  let whole = Math.floor(seconds / Number(size));
  let rest = part ? Math.round((seconds - whole * Number(size)) / Number(part)) : 0;
  if (part && rest * Number(part) >= Number(size)) [whole, rest] = [whole + 1, 0];
  return rest && whole < 10 ? `${whole} ${unit} ${rest} ${next}` : `${whole} ${unit}`;
}

/** Return milliseconds, such as `41 ms` or `1.2 s`. @param {number | null} milliseconds */
export function millis(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds >= 1000) return `${trimmed(milliseconds / 1000, 2)} s`;
  return `${milliseconds < 10 ? trimmed(milliseconds, 1) : Math.round(milliseconds)} ms`;
}

/** Return a time as seen from now, such as `3 min ago` or `in 38 s`. @param {string | number} at @param {number} [seen] */
export function relative(at, seen = now.value) {
  const seconds = (new Date(at).getTime() - seen) / 1000;
  const distance = Math.abs(seconds);
  if (distance < 1.5) return "just now";
  // What is to come is counted down; of what was, minutes are enough.
  const text = distance < 60 ? `${Math.round(distance)} s` : seconds > 0 && distance < 600 ? duration(distance) : coarse(distance);
  return seconds < 0 ? `${text} ago` : `in ${text}`;
}

function coarse(seconds) {
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400) return seconds < 6 * 3600 ? duration(Math.round(seconds / 60) * 60) : `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const trimmed = (number, digits) => String(Number(number.toFixed(digits)));
const grouped = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

/** Return a count in full. @param {number} number */
export const count = (number) => grouped.format(number);
/** Return a count in short, such as `12.4K`. @param {number} number */
export const compact = (number) => (number < 10_000 ? grouped.format(number) : short.format(number));
/** Return a number of things. @param {number} number @param {string} one @param {string} [many] */
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Return a share as a percentage that says 100 % only of all. @param {number | null} share */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 1 || share === 0) return `${share * 100}%`;
  const shown = share > 0.99 ? Math.floor(share * 10000) / 100 : Math.round(share * 1000) / 10;
  return `${Math.max(shown, 0.01)}%`;
}

/** Return a size. @param {number} size */
export function bytes(size) {
  if (size < 1024) return `${size} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = size;
  let unit = -1;
  do {
    value /= 1024;
    unit += 1;
  } while (value >= 1024 && unit < units.length - 1);
  return `${trimmed(value, value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** Return the end of an id, where ids of the same moment differ. @param {string} id */
export const brief = (id) => (id.length > 16 ? `…${id.slice(-12)}` : id);

/** Return the host and path of a URL. @param {string} target */
export function place(target) {
  try {
    const found = new URL(target);
    return found.host + (found.pathname === "/" ? "" : found.pathname);
  } catch {
    return target;
  }
}

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
/** Whether a text is an id. @param {string} text */
export const isId = (text) => UUID.test(text);

// An escape in a string, a mark, or what is between them. A string as one would be too much for a browser's stack.
const TOKENS = /\\.|["[\]{},:]|[^\\"[\]{},:]+/g;

/**
 * Return the exact text of a member of a JSON object, which parsing and writing again would change.
 * @param {string} text @param {string} name
 */
export function rawMember(text, name) {
  const label = `"${name}":`;
  let depth = 0;
  let start = 0;
  let quoted = false;
  for (const { 0: token, index } of text.matchAll(TOKENS)) {
    // Only at the top: a tag may have the same name.
    if (!start && !quoted && depth === 1 && text.startsWith(label, index)) start = index + label.length;
    if (token === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (start && depth === 1 && ",}".includes(token)) return text.slice(start, index);
    else if ("[{".includes(token)) depth += 1;
    else if ("]}".includes(token)) depth -= 1;
  }
  return "";
}

/** Return JSON with indentation, its numbers as they were written. @param {string} text */
export function pretty(text) {
  let out = "";
  let depth = 0;
  let before = "";
  let quoted = false;
  for (const [found] of text.matchAll(TOKENS)) {
    const token = quoted ? found : found.trim();
    if (!token) continue;
    if (!quoted) {
      const closes = "]}".includes(token);
      const opened = before && "[{".includes(before);
      if (closes) depth -= 1;
      if (before === "," || (before && opened !== closes && (opened || closes))) out += `\n${"  ".repeat(depth)}`;
      if ("[{".includes(token)) depth += 1;
      before = token;
    }
    out += !quoted && token === ":" ? ": " : token;
    if (token === '"') quoted = !quoted;
  }
  return out;
}
