// @ts-check
/** What an operator does about subscriptions and their deliveries. */

import { Badge } from "../parts/badge.js";
import { send, SLOW } from "../lib/api.js";
import { CAPS, count, showNumber, visible } from "../lib/format.js";
import { html } from "../lib/html.js";
import { goTo, linkTo } from "../lib/route.js";

/** @typedef {import("./dialog.js").Action} Action */

const MAX_AT_ONCE = 10_000; // of a request that names the expected count

/** @type {Action} */
export const CREATE = {
  title: "New subscription",
  fields: [
    { name: "url", label: "URL", type: "url", isRequired: true, help: "Events are POSTed there. Use https." },
    { name: "description", label: "Description", help: "For people." },
    {
      name: "types",
      label: "Events",
      options: [
        ["upload update delete", "all"],
        ["upload", "upload"],
        ["update", "update"],
        ["delete", "delete"],
        ["upload update", "upload and update"],
        ["upload delete", "upload and delete"],
        ["update delete", "update and delete"],
      ],
      value: "upload update delete",
    },
    {
      name: "start",
      label: "Beginning",
      options: [
        ["latest", "with events from now on"],
        ["beginning", "with the first event of the ledger"],
      ],
      value: "latest",
    },
    {
      name: "ordering",
      label: "Order",
      options: [
        ["per_file", "per file: an event waits for the earlier ones of its file"],
        ["none", "none: every event at once"],
      ],
      value: "per_file",
    },
  ],
  button: "Create",
  run: async ({ url, description, types, start, ordering }) => {
    const body = { url, description, event_types: types.split(" "), start, ordering };
    const { data } = await send("POST", "subscriptions", { body });
    return html`<${Secret} secret=${data.secret}>The subscription is created.<//>`;
  },
};

/** @param {string} path @returns {Action} */
export const test = (path) => ({
  title: "Test the subscription",
  text: "A signed ping is sent now. It changes nothing else.",
  button: "Send it",
  run: async () => {
    const { data } = await send("POST", `${path}/test`, { timeout: SLOW });
    const status = data.status_code !== null && `status ${data.status_code}`;
    return html`<p><${Badge} state=${data.outcome} /> ${status} after ${showNumber(data.duration_ms)} ms</p>
      ${data.error && html`<p>${visible(data.error)}</p>`}
      <pre tabindex="0">${visible(data.response) || "The response has no body."}</pre>`;
  },
});

/** @param {string} path @returns {Action} */
export const pause = (path) => ({
  title: "Pause the subscription",
  text: "Nothing is sent until it is made active; missed events wait in its backlog.",
  button: "Pause",
  run: async () => {
    await send("PATCH", path, { body: { status: "paused" } });
    return "The subscription is paused.";
  },
});

/** @param {string} path @returns {Action} */
export const activate = (path) => ({
  title: "Make the subscription active",
  text: "It continues immediately where it stopped.",
  button: "Activate",
  run: async () => {
    await send("PATCH", path, { body: { status: "active" } });
    return "The subscription is active.";
  },
});

/** @param {string} path @returns {Action} */
export const rotate = (path) => ({
  title: "Rotate the secret",
  text: "A new secret signs from now on. The old one signs too for a day, so that the receiver can change over.",
  button: "Rotate",
  run: async () => {
    const { data } = await send("POST", `${path}/rotate-secret`);
    return html`<${Secret} secret=${data.secret}>The secret is new.<//>`;
  },
});

/**
 * @param {string} path
 * @param {any} subscription
 * @returns {Action}
 */
export function replay(path, subscription) {
  const head = Math.max(1, subscription.backlog.position + subscription.backlog.behind);
  const range = (/** @type {Record<string, string>} */ { from, until }) => [
    Math.max(1, Number(from) || 1),
    Math.min(head, Number(until) || head),
  ];
  return {
    title: "Replay events",
    text: "The events of these positions are delivered once more; the receiver gets them again. The number counts positions.",
    fields: [
      { name: "from", label: "From position", type: "number", value: "1", isRequired: true },
      { name: "until", label: "Until position", type: "number", value: String(head), isRequired: true },
    ],
    count: (values) => {
      const [from, until] = range(values);
      return Math.max(0, until - from + 1);
    },
    button: "Replay",
    run: async (values) => {
      const [from, until] = range(values);
      await send("POST", `${path}/replay`, { body: { from_position: from, until_position: until } });
      return "The replay has begun.";
    },
  };
}

/** @param {string} path @returns {Action} */
export const stopReplay = (path) => ({
  title: "Stop the replay",
  text: "Pending deliveries are still sent.",
  button: "Stop",
  run: async () => {
    await send("DELETE", `${path}/replay`);
    return "The replay has stopped.";
  },
});

/**
 * @param {string} path
 * @param {any} subscription
 * @returns {Action}
 */
export const remove = (path, subscription) => ({
  title: "Delete the subscription",
  text: html`Nothing is sent to <code>${visible(subscription.url)}</code> any more, and its deliveries are deleted:
    ${count(subscription.pending, "of them is", "of them are", CAPS.subscription)} pending. This cannot be undone.`,
  count: () => Math.min(subscription.pending, MAX_AT_ONCE),
  button: "Delete",
  run: async () => {
    await send("DELETE", path);
    goTo(linkTo("subscriptions"));
  },
});

/**
 * @param {string} path
 * @param {any[]} deliveries
 * @param {() => void} after
 * @returns {Action}
 */
export const redeliverChosen = (path, deliveries, after) => ({
  title: `Redeliver ${count(deliveries.length, "delivery", "deliveries")}`,
  text: "They are pending again, with all their attempts.",
  button: `Redeliver ${showNumber(deliveries.length)}`,
  run: async () => {
    const body = {
      filter: { delivery_ids: deliveries.map(({ id }) => id) },
      up_to_position: Math.max(...deliveries.map(({ position }) => position)),
      expected: deliveries.length,
    };
    const { data } = await send("POST", `${path}/redeliver`, { body, timeout: SLOW });
    after();
    return `${count(data.redelivered, "delivery is", "deliveries are")} pending again.`;
  },
});

/**
 * All dead deliveries: exactly as many as were shown, or, when they are more than one such request takes, all there are.
 *
 * @param {string} path
 * @param {any} subscription
 * @param {() => void} after
 * @returns {Action}
 */
export const redeliverAll = (path, subscription, after) => ({
  title: "Redeliver all dead deliveries",
  text:
    subscription.dead <= MAX_AT_ONCE
      ? "They are pending again, with all their attempts."
      : "There are more than 10,000, too many for a request that names their count. All dead deliveries, later ones too, are pending again, with all their attempts.",
  count: () => Math.min(subscription.dead, MAX_AT_ONCE),
  button: "Redeliver all",
  run: async () => {
    const up_to_position = Math.max(1, subscription.backlog.position + subscription.backlog.behind);
    const body =
      subscription.dead <= MAX_AT_ONCE ? { filter: {}, up_to_position, expected: subscription.dead } : undefined;
    let redelivered = 0;
    let has_more = true;
    while (has_more) {
      const { data } = await send("POST", `${path}/redeliver`, { body, timeout: SLOW });
      redelivered += data.redelivered;
      has_more = data.has_more ?? false;
    }
    after();
    return `${count(redelivered, "delivery is", "deliveries are")} pending again.`;
  },
});

/** A secret, which is shown once. @param {{secret: string, children: any}} props */
const Secret = ({ secret, children }) => html`
  <p>${children} Its messages are signed with this secret. Give it to the receiver now: it is not shown again.</p>
  <pre tabindex="0">${visible(secret)}</pre>
`;
