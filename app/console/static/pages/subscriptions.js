// @ts-check
/** Who gets events, and how far behind each is. */

import { html } from "../lib/html.js";
import { getList } from "../lib/api.js";
import { CAPS, count, showNumber, showWord, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { goTo, linkTo } from "../lib/route.js";
import { useAction } from "../actions/dialog.js";
import { CREATE } from "../actions/subscription.js";
import { Badge } from "../parts/badge.js";
import { Choice, plainOptions } from "../parts/choice.js";
import { Empty, Loaded } from "../parts/feedback.js";
import { Table } from "../parts/table.js";
import { Time } from "../parts/time.js";

const EVERY = 5; // seconds
const STATUSES = ["active", "paused", "disabled"];
const COLUMNS = [
  "Subscription",
  "State",
  { name: "Pending", isNumber: true },
  "Oldest pending",
  { name: "Dead", isNumber: true },
  { name: "Behind", isNumber: true },
  "Failing since",
];

/** @param {{route: import("../lib/route.js").Route}} props */
export function Subscriptions({ route }) {
  const status = route.query.get("status") ?? "";
  const poll = usePoll((signal) => getList("subscriptions", { status, limit: 100 }, signal), EVERY, [status]);
  const action = useAction(poll.reload);
  const choose = (/** @type {string} */ one) => goTo(linkTo("subscriptions", "", { status: one }));
  return html`
    <div class="heading title">
      <h1>Subscriptions</h1>
      <button class="primary" onClick=${() => action.begin(CREATE)}>New subscription</button>
    </div>
    ${action.view}
    <div class="filters">
      <${Choice} label="State" value=${status} options=${plainOptions(STATUSES)} onChoose=${choose} />
    </div>
    <${Loaded} poll=${poll} lines=${6}>
      ${(/** @type {any[]} */ subscriptions) =>
        subscriptions.length === 0
          ? html`<${Empty} title=${status ? `No subscription is ${status}.` : "No service subscribes to events."}>
              ${
                status
                  ? html`<a href=${linkTo("subscriptions")}>Show all subscriptions</a>`
                  : "Create one above: each event is POSTed to its URL, signed and in order per file."
              }
            <//>`
          : html`<${Table} label="Subscriptions" columns=${COLUMNS}>
                ${subscriptions.map((one) => html`<${Row} key=${one.id} subscription=${one} />`)}
              <//>
              ${subscriptions.length >= 100 && html`<p class="quiet">The oldest ${count(100, "subscription")}.</p>`}`}
    <//>
  `;
}

/** @param {{subscription: any}} props */
function Row({ subscription }) {
  const {
    id,
    description,
    url,
    status,
    status_reason,
    pending,
    oldest_pending_at,
    dead,
    backlog,
    failing_since,
    slow_until,
  } = subscription;
  return html`<tr>
    <td class="words wrap">
      <a href=${linkTo("subscription", id)}>${visible(description) || visible(url)}</a>
      ${description && html`<br /><span class="quiet">${visible(url)}</span>`}
    </td>
    <td class="tight">
      <${Badge} state=${status} /> ${status_reason && html`<span class="quiet">${showWord(status_reason)}</span>`}
      ${slow_until && html`<br /><span class="quiet">slowed down, again <${Time} at=${slow_until} /></span>`}
    </td>
    <td class="number">${showNumber(pending, CAPS.subscription)}</td>
    <td class="tight"><${Time} at=${oldest_pending_at} /></td>
    <td class="number">${dead ? html`<span class="badge bad">${showNumber(dead, CAPS.subscription)}</span>` : "0"}</td>
    <td class="number">${backlog.live ? "live" : showNumber(backlog.behind)}</td>
    <td class="tight"><${Time} at=${failing_since} /></td>
  </tr>`;
}
