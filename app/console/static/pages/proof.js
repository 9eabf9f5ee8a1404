// @ts-check
/** Proofs: nothing yet. */

import { html } from "../lib/html.js";
import { Empty } from "../parts/feedback.js";

export function Proof() {
  return html`<h1>Proof</h1>
    <${Empty} title="This release has no audit.">
      A later one proves that the ledger holds an event, and that nobody altered the ledger since. There is nothing to do here until
      then.
    <//>`;
}
