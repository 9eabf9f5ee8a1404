// @ts-check
/** What an operator does with the sources of the consistency checks, and with a check. */

import { send, SLOW } from "../lib/api.js";
import { count, visible } from "../lib/format.js";
import { html } from "../lib/html.js";

/** @typedef {import("./dialog.js").Action} Action */

/** @param {any} source @returns {Action} */
export const testSource = (source) => ({
  title: `Test ${visible(source.name)}`,
  text: "The source is asked for one item of its inventory; nothing is compared.",
  button: "Test",
  run: async () => {
    const { data } = await send("POST", `consistency/sources/${source.id}/test`, { timeout: SLOW });
    const sentence = data.ok ? "The response keeps to the contract." : "The response does not keep to the contract.";
    return html`<p><strong>${sentence}</strong> ${visible(data.error)}</p>
      <pre tabindex="0">${visible(data.response) || "There is no body."}</pre>`;
  },
});

/** @type {import("./dialog.js").Field} */
const DEEP = { name: "deep", label: "Blocks to read and hash", help: "A part such as 1/7; empty: none." };

/** @param {any} source @returns {Action} */
export const checkSource = (source) => ({
  title: `Check ${visible(source.name)}`,
  text: "Its whole inventory is compared with the ledger, or only the files that you name.",
  fields: [
    { name: "files", label: "File ids, one a line", type: "textarea", help: "Empty: all files." },
    {
      name: "shrink",
      label: "If many files are absent",
      options: [
        ["", "end the check as suspect, change nothing"],
        ["yes", "believe it: they are missing"],
      ],
      value: "",
    },
    ...(source.kind === "cloud" ? [DEEP] : []),
  ],
  button: "Check",
  run: async ({ files, shrink, deep }) => {
    const ids = files.split(/[\s,]+/).filter(Boolean);
    const scope = ids.length ? { file_ids: ids } : { all: true };
    await send("POST", "consistency/checks", {
      body: { source: source.id, scope, ...(shrink && { accept_shrink: true }), ...(deep && { deep }) },
    });
    return "The check has begun.";
  },
});

/** @param {any} check @returns {Action} */
export const cancelCheck = (check) => ({
  title: "Cancel the check",
  text: `${count(check.compared, "file")} compared so far; an incomplete inventory changes no finding.`,
  button: "Cancel the check",
  run: async () => {
    await send("POST", `consistency/checks/${check.id}/cancel`);
    return "The check is cancelled.";
  },
});
