// @ts-check
/** One subscription: its backlog, its deliveries, and what can be done about them. */

import { html } from "../lib/html.js";
import { getList, getObject } from "../lib/api.js";
import { CAPS, count, showNumber, showWord, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { goTo, linkTo } from "../lib/route.js";
import * as actions from "../actions/subscription.js";
import { useAction } from "../actions/dialog.js";
import { Badge } from "../parts/badge.js";
import { DeliveryTable } from "../parts/deliveries.js";
import { Empty, Loaded } from "../parts/feedback.js";
import { useSelection } from "../parts/selection.js";
import { Facts } from "../parts/table.js";
import { Time } from "../parts/time.js";

const EVERY = 5; // seconds
const DELIVERIES = 50;
const STATUSES = ["pending", "delivered", "dead"];

/** @param {{route: import("../lib/route.js").Route}} props */
export function Subscription({ route }) {
  const path = `subscriptions/${encodeURIComponent(route.id)}`;
  const poll = usePoll((signal) => getObject(path, {}, signal), EVERY, [path]);
  const action = useAction(poll.reload);
  return html`
    <div class="heading title">
      <h1>${poll.data ? visible(poll.data.description) || visible(poll.data.url) : "Subscription"}</h1>
      ${poll.data && html`<${Buttons} path=${path} subscription=${poll.data} action=${action} />`}
    </div>
    ${action.view}
    <${Loaded} poll=${poll} lines=${8}>
      ${(/** @type {any} */ subscription) => html`
        <${Details} subscription=${subscription} />
        <${Deliveries} path=${path} route=${route} subscription=${subscription} action=${action} />
      `}
    <//>
  `;
}

/** @typedef {ReturnType<typeof useAction>} Actions */

/** @param {{path: string, subscription: any, action: Actions}} props */
function Buttons({ path, subscription, action }) {
  const begin = (/** @type {import("../actions/dialog.js").Action} */ next) => () => action.begin(next);
  return html`<div class="actions">
    <button onClick=${begin(actions.test(path))}>Test</button>
    ${
      subscription.status === "active"
        ? html`<button onClick=${begin(actions.pause(path))}>Pause</button>`
        : html`<button onClick=${begin(actions.activate(path))}>Activate</button>`
    }
    <button onClick=${begin(actions.rotate(path))}>Rotate secret</button>
    ${
      subscription.replay
        ? html`<button onClick=${begin(actions.stopReplay(path))}>Stop the replay</button>`
        : html`<button onClick=${begin(actions.replay(path, subscription))}>Replay</button>`
    }
    <button class="danger" onClick=${begin(actions.remove(path, subscription))}>Delete</button>
  </div>`;
}

/** @param {{subscription: any}} props */
function Details({ subscription }) {
  const { replay } = subscription;
  return html`<${Facts}
    pairs=${[
      [
        "State",
        html`<${Badge} state=${subscription.status} /> ${subscription.status_reason && showWord(subscription.status_reason)}`,
      ],
      ["URL", html`<span class="id">${visible(subscription.url)}</span>`],
      ["Events", subscription.event_types.map(showWord).join(", ")],
      [
        "Order",
        `${showWord(subscription.ordering)}, at most ${count(subscription.max_concurrency, "request")} under way`,
      ],
      ["Backlog", html`<${Backlog} subscription=${subscription} />`],
      ["Dead", html`${showNumber(subscription.dead, CAPS.subscription)} used up their attempts`],
      ["Failing since", html`<${Time} at=${subscription.failing_since} none="it does not fail" />`],
      ...(subscription.slow_until ? [["Slowed down until", html`<${Time} at=${subscription.slow_until} />`]] : []),
      ...(replay ? [["Replay", `at position ${showNumber(replay.position)} of ${showNumber(replay.until)}`]] : []),
      ...(subscription.old_secret_until
        ? [["Old secret signs until", html`<${Time} at=${subscription.old_secret_until} />`]]
        : []),
      [
        "Created",
        html`<${Time} at=${subscription.created_at} /> by ${visible(subscription.created_by)}, from position ${showNumber(subscription.start_position)}`,
      ],
    ]}
  />`;
}

/** @param {{subscription: any}} props */
function Backlog({ subscription: { pending, oldest_pending_at, backlog } }) {
  const since = oldest_pending_at && html`, the oldest since <${Time} at=${oldest_pending_at} />`;
  const behind = !backlog.live && `, ${count(backlog.behind, "position")} of the ledger to come`;
  return html`${count(pending, "delivery", "deliveries", CAPS.subscription)} pending${since}${behind}`;
}

/** @param {{path: string, route: import("../lib/route.js").Route, subscription: any, action: Actions}} props */
function Deliveries({ path, route, subscription, action }) {
  const status = route.query.get("status") ?? "";
  const poll = usePoll((signal) => getList(`${path}/deliveries`, { status, limit: DELIVERIES }, signal), EVERY, [
    path,
    status,
  ]);
  const selection = useSelection(
    poll.data ?? [],
    (one) => String(one.id),
    (one) => `delivery ${one.id}`,
  );
  const dead = selection.chosen.filter((one) => one.status === "dead");
  const choose = (/** @type {any} */ event) => goTo(linkTo("subscription", route.id, { status: event.target.value }));
  const after = () => {
    selection.clear();
    poll.reload();
  };
  return html`<section aria-labelledby="deliveries-title">
    <div class="heading">
      <h2 id="deliveries-title">The newest deliveries</h2>
      <div class="actions">
        <select aria-label="State of the deliveries" value=${status} onChange=${choose}>
          <option value="">any state</option>
          ${STATUSES.map((one) => html`<option value=${one}>${one}</option>`)}
        </select>
        <button disabled=${dead.length === 0} onClick=${() => action.begin(actions.redeliverChosen(path, dead, after))}>
          Redeliver selected (${dead.length})
        </button>
        ${
          subscription.dead > 0 &&
          html`<button onClick=${() => action.begin(actions.redeliverAll(path, subscription, after))}>
            Redeliver all ${showNumber(subscription.dead, CAPS.subscription)} dead
          </button>`
        }
      </div>
    </div>
    <${Loaded} poll=${poll} lines=${5}>
      ${(/** @type {any[]} */ deliveries) =>
        deliveries.length === 0
          ? html`<${Empty} title="No delivery.">
              ${status ? `None is ${status}.` : "They appear once a matching event is processed."}
            <//>`
          : html`<${DeliveryTable} deliveries=${deliveries} box=${selection.box} />`}
    <//>
  </section>`;
}
