// @ts-check
/** A filter that is chosen from a list. */

import { html } from "../lib/html.js";

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.value  empty: any
 * @param {[string, string][]} props.options  value and text
 * @param {(value: string) => void} props.onChoose
 */
export function Choice({ label, value, options, onChoose }) {
  const change = (/** @type {any} */ event) => onChoose(event.target.value);
  return html`<label>${label}
    <select value=${value} onChange=${change}>
      <option value="">any</option>
      ${options.map(([one, text]) => html`<option value=${one}>${text}</option>`)}
    </select>
  </label>`;
}

/** Options whose text is the value. @param {readonly string[]} values @returns {[string, string][]} */
export const plainOptions = (values) => values.map((value) => [value, value]);
