// Charts over time: SVG, so that they follow the theme, and a table with the same numbers.
import { html, useEffect, useRef, useState } from "./html.js";
import { absolute, clock, count, date, day, minute, zone } from "./format.js";
import { Empty, Table } from "./ui.js";

/** @typedef {{label: string, tone: string, values: (number | null)[], dash?: boolean}} Series */

const LEFT = 52;
const RIGHT = 6;
const TOP = 10;
const BOTTOM = 24;
const STEPS = [60, 300, 600, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 14 * 86400];

/** Return round numbers from 0 to at least the largest value. @param {number} most @param {boolean} share */
function scale(most, share) {
  if (share) return [0, 0.25, 0.5, 0.75, 1];
  const rough = (most || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough) || rough, most >= 4 || !Number.isInteger(most) ? 0 : 1);
  return Array.from({ length: Math.ceil((most || 1) / step - 1e-9) + 1 }, (_, index) => index * step);
}

/** Return when labels of the axis of time stand, at round times of the zone. @param {number} begin @param {number} end @param {number} room */
function marks(begin, end, room) {
  const step = STEPS.find((size) => (end - begin) / size <= room) || 30 * 86400;
  const shift = zone.value === "utc" ? 0 : new Date(begin * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let at = Math.ceil((begin - shift) / step) * step + shift; at < end; at += step) found.push(at);
  return { step, found };
}

/**
 * Draw values over time. The mouse chooses a step or a span of them; so do the arrow keys and Enter.
 * @param {{label: string, times: number[], series: Series[], step: number, stacked?: boolean, format?: (value: number) => string,
 *   height?: number, onPick?: (from: number, to: number) => void}} props `times` and `step` are in seconds.
 */
export function Chart({ label, times, series, step, stacked = false, format = count, height = 220, onPick }) {
  const box = useRef(/** @type {any} */ (null));
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const [from, setFrom] = useState(/** @type {number | null} */ (null));
  const [tabled, setTabled] = useState(false);
  useEffect(() => {
    const sized = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    sized.observe(box.current);
    return () => sized.disconnect();
  }, []);

  const begin = times[0];
  const end = times[times.length - 1] + step;
  const inner = Math.max(width - LEFT - RIGHT, 10);
  const tall = height - TOP - BOTTOM;
  const values = (point) => series.map((one) => one.values[point] ?? 0);
  const most = Math.max(0, ...times.map((_, point) => (stacked ? values(point).reduce((sum, value) => sum + value, 0) : Math.max(...values(point)))));
  const ticks = scale(most, format(0.5) === "50%");
  const top = ticks[ticks.length - 1];
  const x = (time) => LEFT + (inner * (time - begin)) / (end - begin);
  const y = (value) => TOP + tall * (1 - value / top);
  const wide = (inner * step) / (end - begin);
  const gap = wide > 4 ? wide * 0.16 : 0;
  const axis = marks(begin, end, Math.max(inner / 84, 2));
  const days = end - begin > 2 * 86400;
  const text = (time) => {
    if (axis.step >= 86400 || (days && clock(time * 1000) === "00:00")) return day(time * 1000);
    return clock(time * 1000);
  };

  const index = (event) => {
    const inside = event.clientX - box.current.getBoundingClientRect().left - LEFT;
    return Math.min(Math.max(Math.floor((times.length * inside) / inner), 0), times.length - 1);
  };
  const pick = (one, other) => {
    const [first, last] = one < other ? [one, other] : [other, one];
    setFrom(null);
    onPick?.(times[first], times[last] + step);
  };
  const press = (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) setAt(Math.min(Math.max((at ?? times.length) + move, 0), times.length - 1));
    else if (event.key === "Enter" && at !== null && onPick) pick(at, at);
    else return;
    event.preventDefault();
  };
  const line = (found) => {
    let path = "";
    for (const [point, value] of found.entries()) {
      if (value === null || value === undefined) continue;
      const before = found[point - 1];
      path += `${before === null || before === undefined ? "M" : "L"}${(x(times[point]) + wide / 2).toFixed(1)} ${y(value).toFixed(1)}`;
    }
    return path;
  };
  const sum = (found) => found.reduce((total, value) => total + (value || 0), 0);
  const [first, last] = from === null || at === null ? [at, at] : [Math.min(from, at), Math.max(from, at)];
  const shown = at !== null && at < times.length ? at : null;

  return html`
    <div class="chart stack">
      <div class="legend">
        <span class="num">${shown !== null ? (step >= 86400 ? date(times[shown] * 1000) : minute(times[shown] * 1000)) : stacked ? "In all" : "Latest"}</span>
        ${series.map((one) => {
          const value = shown !== null ? one.values[shown] : stacked ? sum(one.values) : one.values.findLast((found) => found !== null);
          return html`<span key=${one.label}><span class="dot s-${one.tone}"></span>${one.label} <span class="num">${value === null || value === undefined ? "–" : format(value)}</span></span>`;
        })}
      </div>
      <div class="plot" ref=${box} style=${{ height: `${height}px` }} tabindex="0" role="group" onKeyDown=${press} onBlur=${() => setAt(null)}
        aria-label=${`${label}: a chart. The arrow keys move in it${onPick ? ", Enter opens the list of a step" : ""}. The table below has the same numbers.`}>
        ${width > 0 &&
        html`
          <svg width=${width} height=${height} aria-hidden="true"
            onPointerMove=${(event) => setAt(index(event))} onPointerLeave=${() => { setAt(null); setFrom(null); }}
            onPointerDown=${(event) => onPick && event.button === 0 && setFrom(index(event))}
            onPointerUp=${(event) => from !== null && pick(from, index(event))}>
            ${ticks.map((tick) => html`<line class="grid" x1=${LEFT} x2=${width - RIGHT} y1=${y(tick)} y2=${y(tick)} /><text x=${LEFT - 8} y=${y(tick) + 4} text-anchor="end">${format(tick)}</text>`)}
            ${axis.found.map((time) => x(time) < width - 24 && html`<text x=${x(time)} y=${height - 6} text-anchor=${x(time) < LEFT + 16 ? "start" : "middle"}>${text(time)}</text>`)}
            ${first !== null && last !== null && last < times.length && html`<rect class="band" x=${x(times[first])} width=${wide * (last - first + 1)} y=${TOP} height=${tall} />`}
            ${stacked
              ? times.map((time, point) => {
                  let below = 0;
                  return series.map((one) => {
                    const value = one.values[point] || 0;
                    if (!value) return null;
                    // What is there is seen, however little it is.
                    const size = Math.max((tall * value) / top, 1.5);
                    below += value;
                    return html`<rect class="s-${one.tone}" x=${x(time) + gap / 2} width=${Math.max(wide - gap, 0.75)} y=${Math.min(y(below), TOP + tall - size)} height=${size} />`;
                  });
                })
              : series.map((one) => html`<path class="s-${one.tone}" d=${line(one.values)} stroke-dasharray=${one.dash ? "5 5" : undefined} />`)}
            ${!stacked && shown !== null && series.map((one) => one.values[shown] !== null && one.values[shown] !== undefined && html`<circle class="s-${one.tone}" r="4" cx=${x(times[shown]) + wide / 2} cy=${y(one.values[shown])} />`)}
          </svg>
        `}
      </div>
      <details onToggle=${(event) => setTabled(event.currentTarget.open)}>
        <summary>Show as a table</summary>
        ${tabled &&
        html`<${Table}
          label=${label}
          id=${(row) => row.time}
          columns=${[
            { title: "From", cell: (row) => html`<span title=${absolute(row.time * 1000)}>${step >= 86400 ? date(row.time * 1000) : minute(row.time * 1000)}</span>` },
            ...series.map((one) => ({ title: one.label, kind: "num", cell: (row) => (one.values[row.index] === null || one.values[row.index] === undefined ? "–" : format(one.values[row.index])) })),
          ]}
          rows=${times.map((time, position) => ({ time, index: position })).reverse()}
        />`}
      </details>
    </div>
  `;
}

/**
 * Put steps together so that at most `most` are left.
 * @param {any[]} points @param {number} most
 */
export function merged(points, most) {
  const size = Math.ceil(points.length / most);
  if (size <= 1) return points;
  const found = [];
  for (let start = 0; start < points.length; start += size) {
    const part = points.slice(start, start + size);
    const sum = (name) => part.reduce((total, point) => total + (point[name] || 0), 0);
    found.push({ ...part[0], window_end: part[part.length - 1].window_end, delivered: sum("delivered"), failed: sum("failed"), cancelled: sum("cancelled"), attempts: sum("attempts"), events: sum("events") });
  }
  return found;
}

/** Return when a point begins, in seconds. @param {any} point */
export const begins = (point) => Date.parse(point.window_start) / 1000;

/**
 * The outcomes of deliveries over time, each bar a link to its list.
 * @param {{points: any[], label: string, height?: number, most?: number, onPick: (from: number, to: number) => void}} props
 */
export function Outcomes({ points, label, height, most = 96, onPick }) {
  const shown = merged(points, most);
  if (!shown.length) return null;
  const step = (Date.parse(shown[0].window_end) - Date.parse(shown[0].window_start)) / 1000;
  if (!shown.some((point) => point.delivered || point.failed || point.cancelled)) {
    return html`<${Empty} icon="chart" title="Nothing ended in this time"><p>Bars appear within seconds of the first delivery.</p><//>`;
  }
  const of = (name) => shown.map((point) => point[name]);
  const series = [
    { label: "Delivered", tone: "ok", values: of("delivered") },
    { label: "Failed", tone: "bad", values: of("failed") },
    { label: "Cancelled", tone: "mute", values: of("cancelled") },
  ];
  return html`<${Chart} stacked label=${label} times=${shown.map(begins)} series=${series} step=${step} height=${height} onPick=${onPick} />`;
}
