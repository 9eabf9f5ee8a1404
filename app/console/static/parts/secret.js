// @ts-check
/** A secret that is shown once. */

import { html } from "../lib/html.js";
import { visible } from "../lib/format.js";

/** @param {{secret: string, children: any}} props */
export const Secret = ({ secret, children }) => html`
  <p>${children} Its messages are signed with this secret. Give it to the receiver now: it is not shown again.</p>
  <pre tabindex="0">${visible(secret)}</pre>
`;
