// @ts-check
/** Findings: how the sources differ from the ledger, and what is done about it. */

import { html } from "../lib/html.js";
import { getList } from "../lib/api.js";
import { accept, acceptAll, planRepair } from "../actions/finding.js";
import { count, showJson, showWord, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { goTo, linkTo } from "../lib/route.js";
import { ADMIN, hasScope } from "../lib/session.js";
import { Badge } from "./badge.js";
import { Choice, plainOptions } from "./choice.js";
import { Empty, Loaded } from "./feedback.js";
import { FileSearch } from "./file_search.js";
import { IdLink } from "./link.js";
import { Table } from "./table.js";
import { Time } from "./time.js";

const EVERY = 5; // seconds
const MOST = 1000; // that one request returns
const SHOWN = 100;
const STATES = ["suspected", "open", "resolved", "accepted"];
const KINDS = ["missing", "orphaned", "missing_block", "orphaned_block", "stale", "wrong_size", "wrong_hash"];
const FILTERS = ["state", "kind", "source", "file_id"];

/** @param {{route: import("../lib/route.js").Route, names: Map<string, string>, action: any}} props */
export function Findings({ route, names, action }) {
  const filter = Object.fromEntries(FILTERS.map((name) => [name, route.query.get(name) ?? ""]));
  const poll = usePoll((signal) => getList("consistency/findings", { ...filter, limit: MOST }, signal), EVERY, [
    JSON.stringify(filter),
  ]);
  const after = () => poll.reload();
  return html`<section aria-labelledby="findings-title">
    <div class="heading">
      <h2 id="findings-title">Findings</h2>
      ${
        hasScope(ADMIN) &&
        poll.data &&
        html`<${Buttons} findings=${poll.data} filter=${filter} action=${action} after=${after} />`
      }
    </div>
    <${Filters} filter=${filter} names=${names} />
    <${Loaded} poll=${poll} lines=${4}>
      ${(/** @type {any[]} */ findings) =>
        findings.length === 0
          ? html`<${Empty} title="No finding.">
              ${Object.values(filter).some(Boolean) ? "None matches the filter." : "All compared files agree with the ledger."}
            <//>`
          : html`<${Rows} findings=${findings} names=${names} action=${action} after=${after} />`}
    <//>
  </section>`;
}

/** @param {{filter: Record<string, string>, names: Map<string, string>}} props */
function Filters({ filter, names }) {
  const change = (/** @type {string} */ name) => (/** @type {string} */ value) =>
    goTo(linkTo("consistency", "", { ...filter, [name]: value }));
  const sources = [...names].map(([id, name]) => [id, visible(name)]);
  return html`<div class="filters">
    <${Choice} label="State" value=${filter.state} options=${plainOptions(STATES)} onChoose=${change("state")} />
    <${Choice} label="Kind" value=${filter.kind} options=${KINDS.map((kind) => [kind, showWord(kind)])} onChoose=${change("kind")} />
    <${Choice} label="Source" value=${filter.source} options=${sources} onChoose=${change("source")} />
    <${FileSearch} value=${filter.file_id} onFile=${change("file_id")} />
  </div>`;
}

/** @param {{findings: any[], filter: Record<string, string>, action: any, after: () => void}} props */
function Buttons({ findings, filter, action, after }) {
  const isWhole = findings.length < MOST; // else it is not known how many match
  const acceptable = findings.filter(({ state }) => state === "open" || state === "suspected").length;
  const open = findings.filter(({ state }) => state === "open").length;
  return html`<div class="actions">
    ${
      isWhole &&
      acceptable > 0 &&
      html`<button onClick=${() => action.begin(acceptAll(filter, acceptable, after))}>Accept all ${acceptable}</button>`
    }
    ${open > 0 && html`<button onClick=${() => action.begin(planRepair(filter, open, after))}>Plan a repair</button>`}
  </div>`;
}

/** @param {{findings: any[], names: Map<string, string>, action: any, after: () => void}} props */
function Rows({ findings, names, action, after }) {
  const columns = ["Finding", "File", "Source", "Evidence", "First seen", { name: "Actions", isHidden: true }];
  return html`<${Table} label="Findings" columns=${columns}>
      ${findings.slice(0, SHOWN).map(
        (finding) => html`<tr key=${finding.id}>
          <td class="sentence">
            <strong>${showWord(finding.kind)}</strong> <${Badge} state=${finding.state} /><br />
            <span class="quiet">${visible(finding.message)}</span>
          </td>
          <td class="tight"><${IdLink} page="file" id=${finding.file_id} /></td>
          <td class="name">${visible(names.get(finding.source) ?? finding.source)}</td>
          <td class="words half wrap">
            <code>${showJson(finding.evidence)}</code>
            ${finding.reason && html`<br /><span class="quiet">Accepted: ${visible(finding.reason)}</span>`}
          </td>
          <td class="tight"><${Time} at=${finding.first_seen_at} /></td>
          <td class="tight">
            ${
              ["open", "suspected"].includes(finding.state) &&
              hasScope(ADMIN) &&
              html`<button class="small" onClick=${() => action.begin(accept(finding, after))}>Accept</button>`
            }
          </td>
        </tr>`,
      )}
    <//>
    ${
      findings.length > SHOWN &&
      html`<p class="quiet under">
        The newest ${SHOWN} of ${findings.length >= MOST ? "more than " : ""}${count(findings.length, "finding")}.
      </p>`
    }`;
}
