// @ts-check
/** The plan of a repair: what it would do, and its application once the count is typed. */

import { html, useState } from "../lib/html.js";
import { send, SLOW } from "../lib/api.js";
import { count, shortId, showNumber, showWord, visible } from "../lib/format.js";
import { linkTo } from "../lib/route.js";
import { Badge } from "./badge.js";
import { Problem } from "./feedback.js";
import { Table } from "./table.js";

const SHOWN = 50;

/** @param {{plan: any, after: () => void}} props */
export function RepairPlan({ plan, after }) {
  const [typed, setTyped] = useState("");
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [isBusy, setBusy] = useState(false);
  const [results, setResults] = useState(/** @type {any[] | null} */ (null));
  const number = plan.findings.length;
  if (number === 0) return html`<p>No open finding matches: there is nothing to repair.</p>`;
  if (results) return html`<${Results} plan=${plan} results=${results} />`;
  const isConfirmed = typed.replace(/[\s,.]/g, "") === String(number);
  const apply = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!isConfirmed || isBusy) return;
    setBusy(true);
    setError(null);
    try {
      const { data } = await send("POST", `consistency/repairs/${plan.id}/apply`, {
        headers: { "If-Match": `"${plan.digest}"` },
        timeout: SLOW,
      });
      setResults(data.results);
      after();
    } catch (failed) {
      setError(/** @type {Error} */ (failed));
    }
    setBusy(false);
  };
  return html`<p>The plan is to ${showWord(plan.action)} ${count(number, "finding")}. Each is looked at again first; a healed one is skipped.</p>
    <${PlannedFindings} findings=${plan.findings} />
    <form onSubmit=${apply}>
      <label class="field">
        <span>Type <strong>${showNumber(number)}</strong> to confirm</span>
        <input type="text" inputmode="numeric" autocomplete="off" value=${typed} onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} />
      </label>
      <${Problem} error=${error} />
      <div class="actions"><button class="danger" disabled=${!isConfirmed || isBusy}>${isBusy ? "Working…" : "Apply the plan"}</button></div>
    </form>`;
}

/** @param {{findings: any[]}} props */
const PlannedFindings = ({ findings }) => html`<${Table} label="Planned" columns=${["Finding", "File"]}>
    ${findings.slice(0, SHOWN).map(
      (finding) => html`<tr>
        <td>${showWord(finding.kind)}</td>
        <td class="tight"><a class="id" href=${linkTo("file", finding.file_id)}>${shortId(finding.file_id)}</a></td>
      </tr>`,
    )}
  <//>
  ${findings.length > SHOWN && html`<p class="quiet">and ${count(findings.length - SHOWN, "more finding")}</p>`}`;

/** @param {{plan: any, results: any[]}} props */
function Results({ plan, results }) {
  const files = new Map(plan.findings.map((/** @type {any} */ finding) => [finding.id, finding.file_id]));
  const applied = results.filter(({ outcome }) => outcome === "applied").length;
  return html`<p>${count(applied, "finding")} repaired, ${showNumber(results.length - applied)} skipped.</p>
    <${Table} label="Results" columns=${["File", "Outcome", "Reason"]}>
      ${results.slice(0, SHOWN).map(
        (one) => html`<tr>
          <td class="tight"><span class="id">${shortId(files.get(one.finding) ?? one.finding)}</span></td>
          <td class="tight"><${Badge} state=${one.outcome} /></td>
          <td class="words wrap">${visible(one.reason)}</td>
        </tr>`,
      )}
    <//>`;
}
