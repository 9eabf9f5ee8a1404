// @ts-check
/** The list of keys. */

import { html } from "../lib/html.js";

/** @param {{dialog: any, pages: ReadonlyArray<readonly [string, string, string]>}} props */
export function KeyboardHelp({ dialog, pages }) {
  return html`<dialog ref=${dialog} aria-labelledby="keys-title">
    <h2 id="keys-title">Keyboard</h2>
    <dl class="keys">
      <dt><kbd>/</kbd></dt>
      <dd>search</dd>
      <dt><kbd>?</kbd></dt>
      <dd>this list</dd>
      <dt><kbd>Esc</kbd></dt>
      <dd>close a dialog</dd>
      ${pages.map(([, name, key]) => html`<dt><kbd>g</kbd> <kbd>${key}</kbd></dt><dd>${name}</dd>`)}
    </dl>
    <form method="dialog"><button autofocus>Close</button></form>
  </dialog>`;
}
