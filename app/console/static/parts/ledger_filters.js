// @ts-check
/** The ledger's filters; what is chosen stands in the address. */

import { html } from "../lib/html.js";
import { EVENT_TYPES, STATES, toInstant, toLocal } from "../lib/ledger_query.js";
import { goTo, linkTo } from "../lib/route.js";
import { nameOfState } from "./badge.js";
import { Choice, plainOptions } from "./choice.js";
import { FileSearch } from "./file_search.js";

const UNPROCESSED = "unprocessed"; // every state but one
const STATE_OPTIONS = [[UNPROCESSED, "not processed"], ...STATES.map((state) => [state, nameOfState(state)])];
const ANOMALY_OPTIONS = [
  ["true", "with one"],
  ["false", "without"],
];
const TIMES = [
  ["created_after", "After"],
  ["created_before", "Before"],
];

/** @param {{filter: Record<string, string>}} props */
export function LedgerFilters({ filter }) {
  const change = (/** @type {Record<string, string>} */ part) =>
    goTo(linkTo("ledger", "", { ...filter, before_position: "", ...part }));
  const choose = (/** @type {string} */ name) => (/** @type {string} */ value) => change({ [name]: value });
  const when = (/** @type {string} */ name) => (/** @type {any} */ event) =>
    change({ [name]: toInstant(event.target.value) });
  const chooseState = (/** @type {string} */ state) =>
    change(state === UNPROCESSED ? { state: "", processed: "false" } : { state, processed: "" });
  const state = filter.processed === "false" ? UNPROCESSED : filter.state;
  return html`<div class="filters">
    <${FileSearch} value=${filter.file_id} onFile=${(/** @type {string} */ id) => change({ file_id: id })} />
    <${Choice} label="Type" value=${filter.event_type} options=${plainOptions(EVENT_TYPES)} onChoose=${choose("event_type")} />
    <${Choice} label="State" value=${state} options=${STATE_OPTIONS} onChoose=${chooseState} />
    <details open=${Boolean(filter.anomaly || filter.created_after || filter.created_before)}>
      <summary>More filters</summary>
      <div class="row">
        <${Choice} label="Anomaly" value=${filter.anomaly} options=${ANOMALY_OPTIONS} onChoose=${choose("anomaly")} />
        ${TIMES.map(
          ([name, label]) => html`<label>${label}
            <input type="datetime-local" value=${toLocal(filter[name])} onChange=${when(name)} />
          </label>`,
        )}
      </div>
    </details>
    ${Object.values(filter).some(Boolean) && html`<a class="button" href=${linkTo("ledger")}>Clear</a>`}
  </div>`;
}
