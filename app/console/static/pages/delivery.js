// @ts-check
/** One delivery and its attempts, with what the receiver responded. */

import { html } from "../lib/html.js";
import { getObject, send } from "../lib/api.js";
import { showNumber, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { linkTo } from "../lib/route.js";
import { useAction } from "../actions/dialog.js";
import { Badge } from "../parts/badge.js";
import { NextAttempt } from "../parts/deliveries.js";
import { Empty, Loaded } from "../parts/feedback.js";
import { IdLink } from "../parts/link.js";
import { Facts, Table } from "../parts/table.js";
import { Time } from "../parts/time.js";

const EVERY = 5; // seconds

/** @param {{route: import("../lib/route.js").Route}} props */
export function Delivery({ route }) {
  const path = `deliveries/${encodeURIComponent(route.id)}`;
  const poll = usePoll((signal) => getObject(path, {}, signal), EVERY, [path]);
  const action = useAction(poll.reload);
  const redeliver = () =>
    action.begin({
      title: "Redeliver",
      text: "It is pending again, with all its attempts; the receiver may get the event twice.",
      button: "Redeliver",
      run: async () => {
        await send("POST", `${path}/redeliver`);
        return "The delivery is pending again.";
      },
    });
  return html`
    <div class="heading title">
      <h1>Delivery ${visible(route.id)}</h1>
      ${poll.data && poll.data.status !== "pending" && html`<button onClick=${redeliver}>Redeliver</button>`}
    </div>
    ${action.view}
    <${Loaded} poll=${poll} lines=${8}>
      ${(/** @type {any} */ delivery) => html`<${Details} delivery=${delivery} /><${Attempts} attempts=${delivery.history} />`}
    <//>
  `;
}

/** @param {{delivery: any}} props */
const Details = ({ delivery }) => html`<${Facts}
  pairs=${[
    ["State", html`<${Badge} state=${delivery.status} />`],
    [
      "Event",
      html`<a href=${linkTo("event", delivery.event_id)}>${showNumber(delivery.position)}</a>, ${visible(delivery.event_type)}`,
    ],
    ["File", html`<a class="id" href=${linkTo("file", delivery.file_id)}>${visible(delivery.file_id)}</a>`],
    ["Subscription", html`<${IdLink} page="subscription" id=${delivery.subscription_id} />`],
    ["Next attempt", html`<${NextAttempt} delivery=${delivery} />`],
    ["Created", html`<${Time} at=${delivery.created_at} />`],
    ["Settled", html`<${Time} at=${delivery.settled_at} none="not yet" />`],
  ]}
/>`;

/** @param {{attempts: any[]}} props */
function Attempts({ attempts }) {
  const columns = [
    { name: "Attempt", isNumber: true },
    "Begun",
    { name: "Took", isNumber: true },
    "Outcome",
    { name: "Status", isNumber: true },
    "Response",
  ];
  return html`<section aria-labelledby="attempts-title">
    <div class="heading"><h2 id="attempts-title">Attempts</h2></div>
    ${
      attempts.length === 0
        ? html`<${Empty} title="No attempt yet."><//>`
        : html`<${Table} label="Attempts" columns=${columns}>
          ${attempts.map(
            (attempt) => html`<tr>
              <td class="number">${showNumber(attempt.number)}</td>
              <td class="tight"><${Time} at=${attempt.started_at} /></td>
              <td class="number">${showNumber(attempt.duration_ms)} ms</td>
              <td class="tight"><${Badge} state=${attempt.outcome} /></td>
              <td class="number">${attempt.status_code ?? "–"}</td>
              <td class="words wrap"><code>${visible(attempt.error ?? attempt.response)}</code></td>
            </tr>`,
          )}
        <//>`
    }
  </section>`;
}
