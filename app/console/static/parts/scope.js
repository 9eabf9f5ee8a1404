// @ts-check
/** A page whose scope the token lacks: says which one, and sends no request. */

import { html } from "../lib/html.js";

/** @param {{scope: string}} props */
export function MissingScope({ scope }) {
  return html`<div class="empty">
    <p class="empty-title">Your token lacks the scope <code>${scope}</code>.</p>
    <p>This page needs it. Log out, and log in with a token that carries it.</p>
  </div>`;
}
