// @ts-check
/** The chart of a rate, and a table with the same numbers beside it. */

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { html, useEffect, useRef } from "../lib/html.js";
import { showExactTime, showNumber, showRate } from "../lib/format.js";

const HEIGHT = 220; // pixels

/** @param {{points: import("../lib/throughput.js").Point[]}} props */
export function RateChart({ points }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const chart = useRef(/** @type {uPlot | null} */ (null));
  const latest = useRef(points);
  latest.current = points;
  useEffect(() => {
    const element = /** @type {HTMLElement} */ (box.current);
    const make = () => {
      chart.current?.destroy();
      chart.current = new uPlot(describe(element), chartData(latest.current), element);
    };
    make();
    const observer = new ResizeObserver(() => chart.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", make);
    return () => {
      observer.disconnect();
      scheme.removeEventListener("change", make);
      chart.current?.destroy();
    };
  }, []);
  useEffect(() => chart.current?.setData(chartData(points)), [points]);
  return html`<div class="chart" ref=${box} aria-hidden="true"></div>`;
}

/** @param {{points: import("../lib/throughput.js").Point[]}} props */
export function RateTable({ points }) {
  const rows = [...points].reverse();
  return html`<details class="numbers">
    <summary>The same numbers as a table</summary>
    <div class="scroll tall" tabindex="0" role="group" aria-label="Events per interval">
      <table>
        <thead><tr><th scope="col">From</th><th scope="col" class="number">Events</th><th scope="col" class="number">Per second</th></tr></thead>
        <tbody>
          ${rows.map(
            (point) => html`<tr>
              <td>${showExactTime(point.from).replace(/\.\d+/, "")}</td>
              <td class="number">${showNumber(point.events)}</td>
              <td class="number">${showRate(point.rate)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}

/**
 * @param {import("../lib/throughput.js").Point[]} points
 * @returns {uPlot.AlignedData}
 */
function chartData(points) {
  const known = points.filter(({ rate }) => rate !== null);
  const end = known.slice(-1).map(({ to, rate }) => ({ from: to, rate })); // as wide as the others
  const drawn = [...known, ...end];
  return [drawn.map(({ from }) => Date.parse(from) / 1000), drawn.map(({ rate }) => rate)];
}

/**
 * @param {HTMLElement} element
 * @returns {uPlot.Options}
 */
function describe(element) {
  const style = getComputedStyle(element);
  const color = (/** @type {string} */ name) => resolveColor(element, style.getPropertyValue(name));
  const font = `12px ${style.fontFamily}`;
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [12, 40, 0, 0],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_chart, _low, high) => [0, Math.max(high ?? 0, 0.2) * 1.1] } },
    axes: [
      { ...axis, size: 32, values: (_chart, splits) => splits.map(showClock) },
      { ...axis, size: 52, values: (_chart, splits) => splits.map((value) => showRate(value)) },
    ],
    series: [
      {},
      {
        stroke: color("--accent"),
        fill: color("--accent-tint"),
        width: 2,
        points: { show: false },
        paths: uPlot.paths.stepped?.({ align: 1 }),
      },
    ],
  };
}

/** @param {number} seconds since 1970; UTC, as in the table */
const showClock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });

/**
 * What the canvas understands of a colour with `light-dark()` in it.
 *
 * @param {HTMLElement} element
 * @param {string} value
 */
function resolveColor(element, value) {
  element.style.color = value;
  const resolved = getComputedStyle(element).color;
  element.style.color = "";
  return resolved;
}
