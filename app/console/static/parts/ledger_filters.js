// @ts-check
/** The ledger's filters; what is chosen stands in the address. */

import { html, useEffect, useRef, useState } from "../lib/html.js";
import { EVENT_TYPES, STATES, toInstant, toLocal } from "../lib/ledger_query.js";
import { goTo, linkTo } from "../lib/route.js";

const UNPROCESSED = "unprocessed"; // every state but one
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** @type {Record<string, string>} */
const STATE_NAMES = { failed: "set aside" };

/** @param {{filter: Record<string, string>}} props */
export function LedgerFilters({ filter }) {
  const change = (/** @type {Record<string, string>} */ part) =>
    goTo(linkTo("ledger", "", { ...filter, before_position: "", ...part }));
  const select = (/** @type {string} */ name) => (/** @type {any} */ event) => change({ [name]: event.target.value });
  const when = (/** @type {string} */ name) => (/** @type {any} */ event) =>
    change({ [name]: toInstant(event.target.value) });
  const chooseState = (/** @type {any} */ event) =>
    change(
      event.target.value === UNPROCESSED
        ? { state: "", processed: "false" }
        : { state: event.target.value, processed: "" },
    );
  return html`<div class="filters">
    <${Search} value=${filter.file_id} onFile=${(/** @type {string} */ id) => change({ file_id: id })} />
    <label>Type
      <select value=${filter.event_type} onChange=${select("event_type")}>
        <option value="">any</option>
        ${EVENT_TYPES.map((type) => html`<option value=${type}>${type}</option>`)}
      </select>
    </label>
    <label>State
      <select value=${filter.processed === "false" ? UNPROCESSED : filter.state} onChange=${chooseState}>
        <option value="">any</option>
        <option value=${UNPROCESSED}>not processed</option>
        ${STATES.map((state) => html`<option value=${state}>${STATE_NAMES[state] ?? state}</option>`)}
      </select>
    </label>
    <details open=${Boolean(filter.anomaly || filter.created_after || filter.created_before)}>
      <summary>More filters</summary>
      <div class="row">
        <label>Anomaly
          <select value=${filter.anomaly} onChange=${select("anomaly")}>
            <option value="">any</option>
            <option value="true">with one</option>
            <option value="false">without</option>
          </select>
        </label>
        <label>After <input type="datetime-local" value=${toLocal(filter.created_after)} onChange=${when("created_after")} /></label>
        <label>Before <input type="datetime-local" value=${toLocal(filter.created_before)} onChange=${when("created_before")} /></label>
      </div>
    </details>
    ${Object.values(filter).some(Boolean) && html`<a class="button" href=${linkTo("ledger")}>Clear</a>`}
  </div>`;
}

/** @param {{value: string, onFile: (id: string) => void}} props */
function Search({ value, onFile }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [error, setError] = useState("");
  useEffect(() => {
    if (field.current) field.current.value = value;
  }, [value]);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = field.current?.value.trim().toLowerCase() ?? "";
    const isKnown = text === "" || UUID.test(text);
    setError(isKnown ? "" : "An id has 36 characters: 8-4-4-4-12.");
    if (isKnown) onFile(text);
  };
  return html`<form class="grow" role="search" onSubmit=${submit}>
    <label>File id
      <input type="search" ref=${field} placeholder="Press / and paste the id of a file" spellcheck=${false} autocomplete="off" aria-invalid=${error ? "true" : undefined} />
    </label>
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
  </form>`;
}
