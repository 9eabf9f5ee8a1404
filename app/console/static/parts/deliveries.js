// @ts-check
/** Deliveries as a table. */

import { html } from "../lib/html.js";
import { showNumber, showWord, visible } from "../lib/format.js";
import { linkTo } from "../lib/route.js";
import { Badge } from "./badge.js";
import { IdLink } from "./link.js";
import { Table } from "./table.js";
import { Time } from "./time.js";

/**
 * @param {{deliveries: any[], withSubscription?: boolean, box?: (delivery: any) => any}} props
 *   `box`: the checkbox of a row, if rows can be chosen
 */
export function DeliveryTable({ deliveries, withSubscription = false, box }) {
  const columns = [
    ...(box ? [{ name: "Select", isHidden: true }] : []),
    "Delivery",
    withSubscription ? "Subscription" : "Event",
    "File",
    "State",
    { name: "Attempts", isNumber: true },
    "Last outcome",
    "Next attempt",
  ];
  return html`<${Table} label="Deliveries" columns=${columns}>
    ${deliveries.map(
      (delivery) => html`<tr key=${delivery.id}>
        ${box && html`<td class="tight">${delivery.status === "dead" && box(delivery)}</td>`}
        <td class="tight"><a href=${linkTo("delivery", String(delivery.id))}>${showNumber(delivery.id)}</a></td>
        <td class="tight">
          ${
            withSubscription
              ? html`<${IdLink} page="subscription" id=${delivery.subscription_id} />`
              : html`<a href=${linkTo("event", delivery.event_id)}>${showNumber(delivery.position)}</a> ${visible(delivery.event_type)}`
          }
        </td>
        <td class="tight"><${IdLink} page="file" id=${delivery.file_id} /></td>
        <td class="tight"><${Badge} state=${delivery.status} /></td>
        <td class="number">${showNumber(delivery.attempts)}</td>
        <td class="tight">${delivery.last_outcome ? showWord(delivery.last_outcome) : "–"}</td>
        <td class="tight"><${NextAttempt} delivery=${delivery} /></td>
      </tr>`,
    )}
  <//>`;
}

/** When a delivery is tried next, or why not. @param {{delivery: any}} props */
export function NextAttempt({ delivery }) {
  if (delivery.status !== "pending") return html`<span class="quiet">none</span>`;
  if (delivery.sending) return "under way";
  if (!delivery.next_attempt_at) return html`<span class="quiet">waits for an earlier one of its file</span>`;
  return html`<${Time} at=${delivery.next_attempt_at} />`;
}
