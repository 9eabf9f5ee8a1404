// @ts-check
/** One file: its events, what its subscribers got, and what the services that hold it say. */

import { html, useState } from "../lib/html.js";
import { ApiError, getList, getObject } from "../lib/api.js";
import { CAPS, count, shortId, showJson, showNumber, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { linkTo } from "../lib/route.js";
import { ADMIN, hasScope } from "../lib/session.js";
import { Badge } from "../parts/badge.js";
import { CopyCurl } from "../parts/copy.js";
import { EventRow } from "../parts/event_row.js";
import { Empty, Loaded, Problem } from "../parts/feedback.js";
import { IdLink } from "../parts/link.js";
import { Facts, Table } from "../parts/table.js";
import { Time } from "../parts/time.js";

const EVERY = 5; // seconds
const EVENTS = 100;
const SUBSCRIPTIONS = 10; // whose deliveries are asked for

/** @param {{route: import("../lib/route.js").Route}} props */
export function FilePage({ route }) {
  const id = route.id;
  const path = `files/${encodeURIComponent(id)}`;
  const poll = usePoll((signal) => load(path, id, signal), EVERY, [id]);
  return html`
    <div class="heading title"><h1>File <span class="id">${visible(id)}</span></h1><${CopyCurl} path=${path} /></div>
    <${Loaded} poll=${poll} lines=${8}>
      ${(/** @type {any} */ { file, events, deliveries }) => html`
        ${file && html`<${State} file=${file} />`}
        <${Owners} path=${path} />
        <${Timeline} id=${id} events=${events} deliveries=${deliveries} />
        ${file && html`<${Subscribers} file=${file} />`}
      `}
    <//>
  `;
}

/**
 * @param {string} path
 * @param {string} id
 * @param {AbortSignal} signal
 */
async function load(path, id, signal) {
  const [file, events] = await Promise.all([
    getObject(path, {}, signal).catch(noneIfUnknown),
    getList("sync-events", { file_id: id, limit: EVENTS }, signal),
  ]);
  if (!file && events.length === 0) throw new ApiError("The ledger has no event of this file.", { status: 404 });
  const asked = hasScope(ADMIN) ? (file?.subscriptions ?? []).slice(0, SUBSCRIPTIONS) : [];
  const lists = await Promise.all(
    asked.map((/** @type {any} */ one) =>
      getList(`subscriptions/${one.subscription_id}/deliveries`, { file_id: id, limit: 100 }, signal),
    ),
  );
  return { file, events, deliveries: lists.flat() };
}

/** A file is known once an event of it is processed. @param {any} error */
function noneIfUnknown(error) {
  if (error instanceof ApiError && error.status === 404) return null;
  throw error;
}

/** @param {{file: any}} props */
const State = ({ file }) => html`<${Facts}
  pairs=${[
    [
      "State",
      html`<${Badge} state=${file.state} /> ${file.pending_events > 0 && `${count(file.pending_events, "event")} not yet processed`}`,
    ],
    ["Revision", showNumber(file.revision)],
    [
      "Last event",
      html`<a href=${linkTo("event", file.last_event_id)}>${showNumber(file.last_position)}</a>,${" "}
        ${visible(file.last_event_type)}, <${Time} at=${file.updated_at} />`,
    ],
  ]}
/>`;

/** @param {{path: string}} props */
function Owners({ path }) {
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [isBusy, setBusy] = useState(false);
  const poll = usePoll(
    async (signal) => {
      const [verdicts, sources] = await Promise.all([
        getObject(`${path}/consistency`, {}, signal).catch(noneIfUnknown),
        getList("consistency/sources", {}, signal),
      ]);
      return { verdicts: verdicts?.sources ?? [], names: new Map(sources.map(({ id, name }) => [id, name])) };
    },
    15,
    [path],
  );
  const check = async () => {
    setBusy(true);
    setError(null);
    await getObject(`${path}/consistency`, { refresh: true }).then(poll.reload, setError);
    setBusy(false);
  };
  return html`<section aria-labelledby="owners-title">
    <div class="heading">
      <h2 id="owners-title">The services that hold it</h2>
      ${
        hasScope(ADMIN) &&
        poll.data?.verdicts.length > 0 &&
        html`<button disabled=${isBusy} onClick=${check}>${isBusy ? "Checking…" : "Check now"}</button>`
      }
    </div>
    <${Problem} error=${error} />
    <${Loaded} poll=${poll} lines=${2}>
      ${(/** @type {any} */ { verdicts, names }) =>
        verdicts.length === 0
          ? html`<${Empty} title="No service is asked.">
              Name a service that holds files with <code>POST /consistency/sources</code>; docs/consistency.md says how.
            <//>`
          : html`<${Verdicts} verdicts=${verdicts} names=${names} />`}
    <//>
  </section>`;
}

/** @param {{verdicts: any[], names: Map<string, string>}} props */
const Verdicts = ({
  verdicts,
  names,
}) => html`<${Table} label="Verdicts" columns=${["Source", "Verdict", "Seen", "Evidence"]}>
  ${verdicts.map(
    (one) => html`<tr>
      <td class="name">${visible(names.get(one.source) ?? one.source)}</td>
      <td class="tight"><${Badge} state=${one.verdict} /></td>
      <td class="tight"><${Time} at=${one.seen_at} none="never" /></td>
      <td class="words wrap">${one.evidence ? html`<code>${showJson(one.evidence)}</code>` : html`<span class="quiet">none</span>`}</td>
    </tr>`,
  )}
<//>`;

/** @param {{id: string, events: any[], deliveries: any[]}} props */
function Timeline({ id, events, deliveries }) {
  const [open, setOpen] = useState(0);
  const toggle = (/** @type {number} */ position) => setOpen(open === position ? 0 : position);
  const columns = [{ name: "Position", isNumber: true }, "Recorded", "Type", "Metadata", "State"];
  return html`<section aria-labelledby="timeline-title">
    <div class="heading">
      <h2 id="timeline-title">Timeline</h2>
      ${events.length >= EVENTS && html`<a href=${linkTo("ledger", "", { file_id: id })}>All its events</a>`}
    </div>
    <${Table} label="Events" columns=${columns}>
      ${events.map(
        (event) => html`
          <${EventRow} key=${event.position} event=${event} withFile=${false} isOpen=${open === event.position} onToggle=${toggle} />
          <${EventDeliveries}
            key=${`deliveries-${event.position}`}
            deliveries=${deliveries.filter((one) => one.event_id === event.event_id)}
          />
        `,
      )}
    <//>
  </section>`;
}

/** @param {{deliveries: any[]}} props */
function EventDeliveries({ deliveries }) {
  if (deliveries.length === 0) return null;
  return html`<tr class="under-row">
    <td></td>
    <td colspan="4">
      ${deliveries.map(
        (one) => html`<a class="delivery" href=${linkTo("delivery", String(one.id))}>
          delivery ${showNumber(one.id)} <${Badge} state=${one.status} /> to <span class="id">${shortId(one.subscription_id)}</span>
        </a> `,
      )}
    </td>
  </tr>`;
}

/** @param {{file: any}} props */
function Subscribers({ file }) {
  const columns = [
    "Subscription",
    "State",
    { name: "Delivered up to", isNumber: true },
    { name: "Pending", isNumber: true },
    { name: "Dead", isNumber: true },
    "Behind",
  ];
  return html`<section aria-labelledby="subscribers-title">
    <div class="heading"><h2 id="subscribers-title">Subscribers</h2></div>
    ${!hasScope(ADMIN) && html`<p class="quiet">Single deliveries are shown to tokens with the scope <code>${ADMIN}</code>.</p>`}
    ${
      file.subscriptions.length === 0
        ? html`<${Empty} title="No subscription wants events of this file."><//>`
        : html`<${Table} label="Subscribers" columns=${columns}>
          ${file.subscriptions.map(
            (/** @type {any} */ one) => html`<tr>
              <td class="tight">
                ${
                  hasScope(ADMIN)
                    ? html`<${IdLink} page="subscription" id=${one.subscription_id} />`
                    : html`<span class="id">${shortId(one.subscription_id)}</span>`
                }
              </td>
              <td class="tight"><${Badge} state=${one.status} /></td>
              <td class="number">${showNumber(one.delivered_position)}</td>
              <td class="number">${showNumber(one.pending, CAPS.file)}</td>
              <td class="number">${showNumber(one.dead, CAPS.file)}</td>
              <td>${one.behind ? "yes" : "no"}</td>
            </tr>`,
          )}
        <//>`
    }
  </section>`;
}
