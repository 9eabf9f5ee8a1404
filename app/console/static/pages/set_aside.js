// @ts-check
/** Events that failed in every attempt, grouped by their error. */

import { html } from "../lib/html.js";
import { getList, getObject } from "../lib/api.js";
import { count, showNumber, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { requeueEvents, requeueGroup } from "../actions/requeue.js";
import { linkTo } from "../lib/route.js";
import { ADMIN, hasScope } from "../lib/session.js";
import { useAction } from "../actions/dialog.js";
import { Empty, Loaded } from "../parts/feedback.js";
import { IdLink } from "../parts/link.js";
import { useSelection } from "../parts/selection.js";
import { Table } from "../parts/table.js";
import { Time } from "../parts/time.js";

const EVERY = 10; // seconds
const NEWEST = 50;

export function SetAside() {
  const poll = usePoll(load, EVERY, []);
  const action = useAction(poll.reload);
  return html`<h1>Set aside</h1>
    ${action.view}
    <${Loaded} poll=${poll} lines=${6}>
      ${(/** @type {any} */ { groups, others, events }) =>
        groups.length === 0
          ? html`<${Empty} title="No event is set aside.">
              An event is set aside once every attempt to process it has failed. There is nothing to do.
            <//>`
          : html`<${Groups} groups=${groups} others=${others} action=${action} />
              <${Events} events=${events} action=${action} />`}
    <//>`;
}

/** @param {AbortSignal} signal */
async function load(signal) {
  const [{ groups, others }, events] = await Promise.all([
    getObject("sync-events/set-aside", {}, signal),
    getList("sync-events", { state: "failed", limit: NEWEST }, signal),
  ]);
  return { groups, others, events };
}

/** @typedef {ReturnType<typeof useAction>} Actions */

/** @param {{groups: import("../actions/requeue.js").Group[], others: number, action: Actions}} props */
function Groups({ groups, others, action }) {
  const requeue = (/** @type {import("../actions/requeue.js").Group} */ group) =>
    action.begin({
      title: "Requeue all events with this error",
      text: html`<code>${visible(group.last_error)}</code><br />The next sweep processes them again, with all their attempts. Remove the cause
        of the error first.`,
      count: () => group.events,
      button: "Requeue all",
      run: async () => {
        const { done, error } = await requeueGroup(group);
        const rest = group.events - done;
        const reason = error ? error.message : "The group has changed.";
        return `${count(done, "event")} requeued.${rest ? ` ${showNumber(rest)} are left: ${reason}` : ""}`;
      },
    });
  return html`<section aria-labelledby="groups-title">
    <div class="heading"><h2 id="groups-title">By error</h2></div>
    <${Table} label="Errors" columns=${["Error", { name: "Events", isNumber: true }, "Oldest"]}>
      ${groups.map(
        (group) => html`<tr>
          <td class="words wrap">
            <code>${visible(group.last_error ?? "no error is known")}</code>
            ${
              hasScope(ADMIN) &&
              group.last_error !== null &&
              html`<br /><button class="small" onClick=${() => requeue(group)}>Requeue all ${showNumber(group.events)}</button>`
            }
          </td>
          <td class="number">${showNumber(group.events)}</td>
          <td class="tight"><${Time} at=${group.oldest_at} /></td>
        </tr>`,
      )}
    <//>
    ${others > 0 && html`<p class="quiet">${count(others, "more event")} in groups that are smaller than these.</p>`}
  </section>`;
}

/** @param {{events: any[], action: Actions}} props */
function Events({ events, action }) {
  const selection = useSelection(
    events,
    (event) => event.event_id,
    (event) => `event ${event.position}`,
  );
  const { chosen } = selection;
  const requeue = () =>
    action.begin({
      title: `Requeue ${count(chosen.length, "event")}`,
      text: "The next sweep processes them again, with all their attempts.",
      button: `Requeue ${showNumber(chosen.length)}`,
      run: async () => {
        const done = await requeueEvents(chosen);
        selection.clear();
        return `${count(done, "event")} requeued.`;
      },
    });
  const columns = [{ name: "Position", isNumber: true }, "Recorded", "Type", "File", "Error"];
  return html`<section aria-labelledby="events-title">
    <div class="heading">
      <h2 id="events-title">The newest ${events.length >= NEWEST ? NEWEST : ""} events</h2>
      ${hasScope(ADMIN) && html`<button disabled=${chosen.length === 0} onClick=${requeue}>Requeue selected (${chosen.length})</button>`}
    </div>
    <${Table} label="Events" columns=${hasScope(ADMIN) ? [{ name: "Select", isHidden: true }, ...columns] : columns}>
      ${events.map(
        (event) => html`<tr key=${event.event_id}>
          ${hasScope(ADMIN) && html`<td class="tight">${selection.box(event)}</td>`}
          <td class="number"><a href=${linkTo("event", event.event_id)}>${showNumber(event.position)}</a></td>
          <td class="tight"><${Time} at=${event.created_at} /></td>
          <td class="tight">${visible(event.event_type)}</td>
          <td class="tight"><${IdLink} page="file" id=${event.file_id} /></td>
          <td class="words wrap"><code>${visible(event.last_error)}</code></td>
        </tr>`,
      )}
    <//>
  </section>`;
}
