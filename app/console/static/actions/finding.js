// @ts-check
/** What an operator does about findings: accept them, or plan a repair and apply it. */

import { PlannedFindings, RepairResults } from "./repair.js";
import { send, SLOW } from "../lib/api.js";
import { count, showNumber, showWord, visible } from "../lib/format.js";
import { html } from "../lib/html.js";

/** @typedef {import("./dialog.js").Action} Action */

/** What of a filter was chosen. @param {Record<string, string>} filter */
const chosen = (filter) => Object.fromEntries(Object.entries(filter).filter(([, value]) => value));

/** @type {import("./dialog.js").Field} */
const REASON = { name: "reason", label: "Reason", isRequired: true, help: "Shown with the finding." };

/**
 * @param {any} finding
 * @param {() => void} after
 * @returns {Action}
 */
export const accept = (finding, after) => ({
  title: "Accept the finding",
  text: html`<strong>${showWord(finding.kind)}</strong>: ${visible(finding.message)} An accepted finding never opens again.`,
  fields: [REASON],
  button: "Accept",
  run: async ({ reason }) => {
    await send("POST", `consistency/findings/${finding.id}/accept`, { body: { reason } });
    after();
    return "The finding is accepted.";
  },
});

/**
 * @param {Record<string, string>} filter
 * @param {number} expected  how many were shown
 * @param {() => void} after
 * @returns {Action}
 */
export const acceptAll = (filter, expected, after) => ({
  title: "Accept all findings that match",
  text: "All suspected and open ones. Accepted findings never open again.",
  fields: [REASON],
  count: () => expected,
  button: "Accept all",
  run: async ({ reason }) => {
    const body = { filter: chosen(filter), expected, reason };
    const { data } = await send("POST", "consistency/findings/accept", { body });
    after();
    return `${count(data.accepted, "finding is", "findings are")} accepted.`;
  },
});

/**
 * @param {Record<string, string>} filter
 * @param {number} open  how many were shown
 * @param {() => void} after
 * @returns {Action}
 */
export const planRepair = (filter, open, after) => ({
  title: "Plan a repair",
  text: `A dry run: it shows the repair of the matching open findings, ${showNumber(open)} now, and changes nothing.`,
  fields: [
    {
      name: "action",
      label: "Action",
      options: [
        ["redeliver", "redeliver: the last event of each file again"],
        ["compensate", "compensate: record events that say what the sources hold"],
      ],
      value: "redeliver",
    },
  ],
  button: "Plan",
  run: async ({ action }) => {
    const body = { filter: chosen(filter), action, dry_run: true };
    const { data } = await send("POST", "consistency/repairs", { body });
    return data.findings.length ? applyPlan(data, after) : html`<p>No open finding matches: there is nothing to repair.</p>`;
  },
});

/**
 * @param {any} plan
 * @param {() => void} after
 * @returns {Action}
 */
const applyPlan = (plan, after) => ({
  title: "Apply the plan",
  text: html`<p>
      The plan is to ${showWord(plan.action)} ${count(plan.findings.length, "finding")}. The file of each is
      checked again first; a healed finding is skipped.
    </p>
    <${PlannedFindings} findings=${plan.findings} />`,
  count: () => plan.findings.length,
  button: "Apply the plan",
  run: async () => {
    const { data } = await send("POST", `consistency/repairs/${plan.id}/apply`, {
      headers: { "If-Match": `"${plan.digest}"` },
      timeout: SLOW,
    });
    after();
    return html`<${RepairResults} plan=${plan} results=${data.results} />`;
  },
});
