// @ts-check
/** A table in a box of its own, which scrolls where the window is narrow. */

import { html } from "../lib/html.js";

/**
 * @param {{label: string, columns: (string | {name: string, isNumber?: boolean, isHidden?: boolean})[], children: any}} props
 */
export function Table({ label, columns, children }) {
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${label}>
    <table>
      <thead>
        <tr>
          ${columns.map((column) => {
            const { name, isNumber = false, isHidden = false } = typeof column === "string" ? { name: column } : column;
            return html`<th scope="col" class=${isNumber ? "number" : ""}>${isHidden ? html`<span class="hidden">${name}</span>` : name}</th>`;
          })}
        </tr>
      </thead>
      <tbody>${children}</tbody>
    </table>
  </div>`;
}

/** Facts about one thing: pairs of a name and a value. @param {{pairs: [string, any][]}} props */
export const Facts = ({ pairs }) =>
  html`<dl class="facts">${pairs.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
