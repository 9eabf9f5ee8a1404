// @ts-check
/** States as coloured words. */

import { html } from "../lib/html.js";
import { showWord } from "../lib/format.js";

/** @type {Record<string, string>} */
const LEVELS = {
  processed: "good",
  failed: "bad",
  retrying: "warn",
  waiting: "warn",
  delivered: "good",
  dead: "bad",
  active: "good",
  paused: "warn",
  disabled: "bad",
  timeout: "bad",
  unreachable: "bad",
  refused: "bad",
  gone: "bad",
  slow_down: "warn",
  consistent: "good",
  inconsistent: "bad",
  open: "bad",
  suspected: "warn",
  complete: "good",
  incomplete: "warn",
  suspect: "bad",
  applied: "good",
  skipped: "warn",
};

/** What the console calls the state of an event. @param {string} state */
export const nameOfState = (state) => (state === "failed" ? "set aside" : showWord(state));

const ANOMALY = "An anomaly: it does not fit the earlier events of the file";

/** @param {{state: string}} props */
export const Badge = ({ state }) => html`<span class=${`badge ${LEVELS[state] ?? ""}`}>${showWord(state)}</span>`;

/** The state of an event, and what is odd about it. @param {{event: any}} props */
export const EventState = ({ event }) => html`
  <span class=${`badge ${LEVELS[event.state] ?? ""}`}>${nameOfState(event.state)}</span>
  ${event.anomaly && html` <span class="badge warn" title=${ANOMALY}>${showWord(event.anomaly)}</span>`}
`;
