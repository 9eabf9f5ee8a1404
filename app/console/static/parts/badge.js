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

/** What the console calls a state, where the API's word alone says too little. @type {Record<string, string>} */
const NAMES = { failed_event: "set aside" };

/** @param {{state: string}} props */
export const Badge = ({ state }) => html`<span class=${`badge ${LEVELS[state] ?? ""}`}>${showWord(state)}</span>`;

/** The state of an event, and what is odd about it. @param {{event: any}} props */
export const EventState = ({ event }) => html`
  <span class=${`badge ${LEVELS[event.state] ?? ""}`}>${event.state === "failed" ? NAMES.failed_event : showWord(event.state)}</span>
  ${event.anomaly && html` <span class="badge warn" title="An anomaly: by its earlier events this was not to be expected">${showWord(event.anomaly)}</span>`}
`;
