// @ts-check
/** The newest events as they arrive, or those that match a filter. */

import { html, useEffect, useState } from "../lib/html.js";
import { announce } from "../lib/announce.js";
import { count, showNumber } from "../lib/format.js";
import { isLive, readFilter } from "../lib/ledger_query.js";
import { useLiveLedger } from "../lib/live_ledger.js";
import { linkTo } from "../lib/route.js";
import { CopyCurl } from "../parts/copy.js";
import { EventRow } from "../parts/event_row.js";
import { Empty, Problem, Skeleton } from "../parts/feedback.js";
import { LedgerFilters } from "../parts/ledger_filters.js";

/** @param {{route: import("../lib/route.js").Route}} props */
export function Ledger({ route }) {
  const filter = readFilter(route.query);
  const ledger = useLiveLedger(filter);
  const { tail, error } = ledger;
  return html`<h1>Ledger</h1>
    <${LedgerFilters} filter=${filter} />
    <${Problem} error=${error} retries />
    ${
      tail
        ? html`<${Toolbar} ledger=${ledger} filter=${filter} /><${Rows} ledger=${ledger} filter=${filter} />`
        : !error && html`<${Skeleton} lines=${12} />`
    }`;
}

/** @param {{ledger: import("../lib/live_ledger.js").LiveLedger, filter: Record<string, string>}} props */
function Toolbar({ ledger, filter }) {
  const tail = /** @type {import("../lib/tail.js").Tail} */ (ledger.tail);
  const live = isLive(filter);
  const waiting = tail.heldCount;
  useEffect(() => {
    if (waiting) announce(`${count(waiting, "new event")} while paused`);
  }, [waiting]);
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString();
  return html`<div class="bar">
    ${
      live
        ? html`<button aria-pressed=${tail.isPaused ? "true" : "false"} onClick=${() => ledger.pause(!tail.isPaused)}>
            ${tail.isPaused ? "Resume" : "Pause"}
          </button>
          ${tail.isPaused && waiting > 0 && html`<button class="primary" onClick=${() => ledger.pause(false)}>${showNumber(waiting)} new</button>`}
          <${LiveState} isPaused=${tail.isPaused} isConnected=${ledger.isConnected} />`
        : html`<span class="quiet">Refreshed every few seconds; new events appear by themselves only with no filter but type and file.</span>`
    }
    <span class="push"></span>
    <${CopyCurl} path=${`sync-events?limit=50${query && `&${query}`}`} />
  </div>`;
}

/** @param {{isPaused: boolean, isConnected: boolean}} props */
function LiveState({ isPaused, isConnected }) {
  if (isPaused) return html`<span class="quiet">Paused: new events wait.</span>`;
  if (!isConnected) return html`<span class="quiet">Connecting…</span>`;
  return html`<span class="quiet"><span class="live" aria-hidden="true"></span> Live: new events appear on top.</span>`;
}

/** @param {{ledger: import("../lib/live_ledger.js").LiveLedger, filter: Record<string, string>}} props */
function Rows({ ledger, filter }) {
  const tail = /** @type {import("../lib/tail.js").Tail} */ (ledger.tail);
  const [open, setOpen] = useState(/** @type {Set<number>} */ (new Set()));
  const toggle = (/** @type {number} */ position) => {
    if (!open.has(position) && isLive(filter)) ledger.pause(true);
    setOpen(
      (before) => new Set(before.has(position) ? [...before].filter((one) => one !== position) : [...before, position]),
    );
  };
  if (tail.rows.length === 0) return html`<${NoRows} filter=${filter} />`;
  const last = tail.rows[tail.rows.length - 1].position;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Events">
      <table class="ledger">
        <thead>
          <tr>
            <th scope="col" class="number">Position</th>
            <th scope="col">Recorded</th>
            <th scope="col">Type</th>
            <th scope="col">File</th>
            <th scope="col">Metadata</th>
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          ${tail.rows.map(
            (event) =>
              html`<${EventRow} key=${event.position} event=${event} isOpen=${open.has(event.position)} onToggle=${toggle} />`,
          )}
        </tbody>
      </table>
    </div>
    <div class="bar under">
      <span class="quiet">
        ${count(tail.rows.length, "event")} shown.${" "}
        ${tail.leftOut > 0 && html`${count(tail.leftOut, "earlier event")} of this live view left out: the newest 500 are kept.`}
      </span>
      ${last > 1 && html`<a class="push" href=${linkTo("ledger", "", { ...filter, before_position: String(last) })}>Older events</a>`}
    </div>`;
}

/** @param {{filter: Record<string, string>}} props */
function NoRows({ filter }) {
  if (Object.values(filter).some(Boolean))
    return html`<${Empty} title="No event matches."><a href=${linkTo("ledger")}>Show all events</a><//>`;
  return html`<${Empty} title="The ledger is empty.">
    Events appear here as soon as a service records one with <code>POST /sync-events</code>; <a href="docs">the API documentation</a> has an example to send.
  <//>`;
}
