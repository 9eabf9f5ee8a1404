// @ts-check
/** Copies a curl line. The token in it is `$TOKEN`, never the real one. */

import { html, useState } from "../lib/html.js";
import { visible } from "../lib/format.js";

/** @param {{path: string, small?: boolean}} props  relative to the page */
export function CopyCurl({ path, small = false }) {
  const [shown, setShown] = useState("");
  const line = curlLine(path);
  const copy = () =>
    (navigator.clipboard?.writeText(line) ?? Promise.reject(new Error("no clipboard"))).then(
      () => setShown("copied"),
      () => setShown("line"),
    );
  return html`<button class=${small ? "small" : ""} onClick=${copy}>${shown === "copied" ? "Copied" : "Copy curl"}</button>
    ${shown === "line" && html`<pre>${visible(line)}</pre>`}`;
}

/** @param {string} path */
function curlLine(path) {
  const address = new URL(path, location.origin + location.pathname).href.replaceAll("'", "%27");
  return `curl -s '${address}' -H "Authorization: Bearer $TOKEN"`;
}
