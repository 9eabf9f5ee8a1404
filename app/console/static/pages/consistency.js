// @ts-check
/** Whether the services that hold the files agree with the ledger. */

import { html } from "../lib/html.js";
import { getList } from "../lib/api.js";
import { showNumber, showWord, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { ADMIN, hasScope } from "../lib/session.js";
import { useAction } from "../actions/dialog.js";
import { cancelCheck, checkSource, testSource } from "../actions/source.js";
import { Badge } from "../parts/badge.js";
import { Empty, Loaded } from "../parts/feedback.js";
import { Findings } from "../parts/findings.js";
import { Table } from "../parts/table.js";
import { Time } from "../parts/time.js";

const EVERY = 3; // seconds
const CHECKS = 10;

/** @typedef {ReturnType<typeof useAction>} Actions */

/** @param {{route: import("../lib/route.js").Route}} props */
export function Consistency({ route }) {
  const poll = usePoll(
    async (signal) => {
      const [sources, checks] = await Promise.all([
        getList("consistency/sources", {}, signal),
        getList("consistency/checks", { limit: CHECKS }, signal),
      ]);
      return { sources, checks, names: new Map(sources.map(({ id, name }) => [id, name])) };
    },
    EVERY,
    [],
  );
  const action = useAction(poll.reload);
  return html`<h1>Consistency</h1>
    ${action.view}
    <${Loaded} poll=${poll} lines=${8}>
      ${(/** @type {any} */ { sources, checks, names }) =>
        sources.length === 0
          ? html`<${Empty} title="No service is compared with the ledger.">
              Name one that holds files with <code>POST /consistency/sources</code>; docs/consistency.md has the contract that it serves.
            <//>`
          : html`<${Findings} route=${route} names=${names} action=${action} />
              <${Checks} checks=${checks} names=${names} action=${action} />
              <${Sources} sources=${sources} action=${action} />`}
    <//>`;
}

/** @param {{sources: any[], action: Actions}} props */
function Sources({ sources, action }) {
  const columns = ["Source", "Kind", "Enabled", "Grace", { name: "Actions", isHidden: true }];
  return html`<section aria-labelledby="sources-title">
    <div class="heading"><h2 id="sources-title">Sources</h2></div>
    <${Table} label="Sources" columns=${columns}>
      ${sources.map(
        (source) => html`<tr key=${source.id}>
          <td class="words wrap">${visible(source.name)}<br /><span class="quiet">${visible(source.url)}</span></td>
          <td class="tight">${showWord(source.kind)}</td>
          <td class="tight">${source.enabled ? "yes" : "no"}</td>
          <td class="tight">${showNumber(source.grace_seconds)} s</td>
          <td class="tight">
            ${
              hasScope(ADMIN) &&
              html`<span class="actions">
              <button class="small" onClick=${() => action.begin(testSource(source))}>Test</button>
              <button class="small" onClick=${() => action.begin(checkSource(source))}>Check</button>
            </span>`
            }
          </td>
        </tr>`,
      )}
    <//>
  </section>`;
}

/** @param {{checks: any[], names: Map<string, string>, action: Actions}} props */
function Checks({ checks, names, action }) {
  const columns = [
    "Source",
    "State",
    "Progress",
    "Differences",
    { name: "As of", isNumber: true },
    "Begun",
    { name: "Actions", isHidden: true },
  ];
  return html`<section aria-labelledby="checks-title">
    <div class="heading"><h2 id="checks-title">The newest checks</h2></div>
    ${
      checks.length === 0
        ? html`<${Empty} title="No check yet.">Begin one at a source below.<//>`
        : html`<${Table} label="Checks" columns=${columns}>
          ${checks.map(
            (check) => html`<tr key=${check.id}>
              <td class="name">${visible(names.get(check.source) ?? check.source)}</td>
              <td class="words wrap">
                <${Badge} state=${check.state} /> ${check.reason && html`<span class="quiet">${visible(check.reason)}</span>`}
              </td>
              <td class="tight"><${Progress} check=${check} /></td>
              <td class="tight">${showCounts(check.counts)}</td>
              <td class="number">${showNumber(check.position)}</td>
              <td class="tight"><${Time} at=${check.started_at} /></td>
              <td class="tight">
                ${
                  check.state === "running" &&
                  hasScope(ADMIN) &&
                  html`<button class="small" onClick=${() => action.begin(cancelCheck(check))}>Cancel</button>`
                }
              </td>
            </tr>`,
          )}
        <//>`
    }
  </section>`;
}

/** @param {{check: any}} props */
const Progress = ({ check }) => html`
  ${
    check.state === "running" &&
    check.of !== null &&
    html`<progress value=${check.compared} max=${Math.max(1, check.of)} aria-label="Progress of the check"></progress> `
  }
  ${showNumber(check.compared)}${check.of !== null && ` of ${showNumber(check.of)}`}
  ${check.in_flight > 0 && html`<span class="quiet">, ${showNumber(check.in_flight)} in flight</span>`}
`;

/** @param {Record<string, number>} counts */
function showCounts(counts) {
  const found = Object.entries(counts).filter(([, number]) => number > 0);
  return found.length ? found.map(([kind, number]) => `${showNumber(number)} ${showWord(kind)}`).join(", ") : "none";
}
