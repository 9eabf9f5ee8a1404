// @ts-check
/** The plan of a repair: what it would do, and what it did. */

import { html } from "../lib/html.js";
import { count, shortId, showNumber, showWord, visible } from "../lib/format.js";
import { Badge } from "../parts/badge.js";
import { IdLink } from "../parts/link.js";
import { Table } from "../parts/table.js";

const SHOWN = 50;

/** @param {{findings: any[]}} props */
export const PlannedFindings = ({ findings }) => html`<${Table} label="Planned" columns=${["Finding", "File"]}>
    ${findings.slice(0, SHOWN).map(
      (finding) => html`<tr>
        <td>${showWord(finding.kind)}</td>
        <td class="tight"><${IdLink} page="file" id=${finding.file_id} /></td>
      </tr>`,
    )}
  <//>
  ${findings.length > SHOWN && html`<p class="quiet">and ${count(findings.length - SHOWN, "more finding")}</p>`}`;

/** @param {{plan: any, results: any[]}} props */
export function RepairResults({ plan, results }) {
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
