// @ts-check
/** Relative times, with the exact one on hover. */

import { html } from "../lib/html.js";
import { showAge, showExactTime } from "../lib/format.js";

const REFRESH = 1000; // milliseconds

/**
 * How long ago something was.
 *
 * @param {{at: string | null | undefined, none?: string}} props
 */
export function Time({ at, none = "–" }) {
  if (!at) return none;
  return html`<time datetime=${at} title=${showExactTime(at)}>${showAge(at, Date.now())}</time>`;
}

/** Keep all times on the page true, without drawing anything else again. */
export function keepTimes() {
  setInterval(() => {
    if (document.visibilityState !== "visible") return;
    const now = Date.now();
    for (const element of document.querySelectorAll("time[datetime]")) {
      const text = showAge(element.getAttribute("datetime") ?? "", now);
      const node = element.firstChild;
      if (node instanceof Text && node.data !== text) node.data = text;
    }
  }, REFRESH);
}
