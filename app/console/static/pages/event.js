// @ts-check
/** One event, and what became of it at each subscriber. */

import { html } from "../lib/html.js";
import { getList, getObject, send } from "../lib/api.js";
import { showJson, showNumber, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { linkTo } from "../lib/route.js";
import { ADMIN, hasScope } from "../lib/session.js";
import { useAction } from "../actions/dialog.js";
import { EventState } from "../parts/badge.js";
import { CopyCurl } from "../parts/copy.js";
import { DeliveryTable } from "../parts/deliveries.js";
import { Empty, Loaded } from "../parts/feedback.js";
import { Facts } from "../parts/table.js";
import { Time } from "../parts/time.js";

const EVERY = 5; // seconds

/** @param {{route: import("../lib/route.js").Route}} props */
export function EventPage({ route }) {
  const path = `sync-events/${encodeURIComponent(route.id)}`;
  const poll = usePoll((signal) => getObject(path, {}, signal), EVERY, [path]);
  const action = useAction(poll.reload);
  const requeue = () =>
    action.begin({
      title: "Requeue this event",
      text: "The next sweep processes it again, with all its attempts.",
      button: "Requeue",
      run: async () => {
        await send("POST", `${path}/requeue`);
        return "The event is requeued.";
      },
    });
  return html`
    <div class="heading title">
      <h1>Event ${poll.data && showNumber(poll.data.position)}</h1>
      <div class="actions">
        ${poll.data?.state === "failed" && hasScope(ADMIN) && html`<button onClick=${requeue}>Requeue</button>`}
        <${CopyCurl} path=${path} />
      </div>
    </div>
    ${action.view}
    <${Loaded} poll=${poll} lines=${8}>${(/** @type {any} */ event) => html`<${Details} event=${event} />`}<//>
    ${hasScope(ADMIN) && html`<${Deliveries} path=${path} />`}
  `;
}

/** @param {{event: any}} props */
const Details = ({ event }) => html`
  <${Facts}
    pairs=${[
      ["State", html`<${EventState} event=${event} />`],
      ["Type", visible(event.event_type)],
      ["File", html`<a class="id" href=${linkTo("file", event.file_id)}>${visible(event.file_id)}</a>`],
      ["Recorded", html`<${Time} at=${event.created_at} /> by ${visible(event.created_by)}`],
      ["Processed", html`<${Time} at=${event.processed_at} none="not yet" />`],
      ["Attempts that failed", showNumber(event.attempts)],
      ["Last error", event.last_error ? html`<code>${visible(event.last_error)}</code>` : "none"],
      ["Id", html`<span class="id">${visible(event.event_id)}</span>`],
    ]}
  />
  <section aria-labelledby="metadata-title">
    <div class="heading"><h2 id="metadata-title">Metadata</h2></div>
    <pre tabindex="0">${showJson(event.metadata, 2)}</pre>
  </section>
`;

/** @param {{path: string}} props */
function Deliveries({ path }) {
  const poll = usePoll((signal) => getList(`${path}/deliveries`, { limit: 100 }, signal), EVERY, [path]);
  return html`<section aria-labelledby="deliveries-title">
    <div class="heading"><h2 id="deliveries-title">Deliveries</h2></div>
    <${Loaded} poll=${poll} lines=${3}>
      ${(/** @type {any[]} */ deliveries) =>
        deliveries.length === 0
          ? html`<${Empty} title="No delivery.">No subscription matches this event, or it is not processed yet.<//>`
          : html`<${DeliveryTable} deliveries=${deliveries} withSubscription />`}
    <//>
  </section>`;
}
