// @ts-check
/** Rows that are chosen by a checkbox. */

import { html, useState } from "../lib/html.js";

/**
 * @template T
 * @typedef {object} Selection
 * @property {T[]} chosen  of the rows that are shown
 * @property {(row: T) => any} box  the checkbox of a row
 * @property {() => void} clear
 */

/**
 * @template T
 * @param {T[]} rows
 * @param {(row: T) => string} idOf
 * @param {(row: T) => string} nameOf  for screen readers
 * @returns {Selection<T>}
 */
export function useSelection(rows, idOf, nameOf) {
  const [ids, setIds] = useState(/** @type {Set<string>} */ (new Set()));
  const toggle = (/** @type {string} */ id) =>
    setIds((before) => new Set(before.has(id) ? [...before].filter((one) => one !== id) : [...before, id]));
  return {
    chosen: rows.filter((row) => ids.has(idOf(row))),
    box: (row) =>
      html`<input type="checkbox" checked=${ids.has(idOf(row))} onChange=${() => toggle(idOf(row))} aria-label=${`Select ${nameOf(row)}`} />`,
    clear: () => setIds(new Set()),
  };
}
