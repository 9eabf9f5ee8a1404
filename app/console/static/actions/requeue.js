// @ts-check
/** Requeues set-aside events, exactly those that were shown: the service refuses another number. */

import { getObject, send, SLOW } from "../lib/api.js";

/**
 * @typedef {object} Group
 * @property {string | null} last_error
 * @property {number} events
 * @property {string} oldest_at
 * @property {number} newest_position
 * @property {{up_to_position: number, expected: number}} next
 */

/**
 * Requeue a few events.
 *
 * @param {{event_id: string, position: number}[]} events
 * @returns {Promise<number>} how many
 */
export async function requeueEvents(events) {
  const body = {
    filter: { event_ids: events.map(({ event_id }) => event_id) },
    up_to_position: Math.max(...events.map(({ position }) => position)),
    expected: events.length,
  };
  return (await send("POST", "sync-events/requeue", { body, timeout: SLOW })).data.requeued;
}

/**
 * Requeue a whole group, one confirmed request after the other; events that joined it later stay untouched.
 *
 * @param {Group} group  as it was shown
 * @returns {Promise<{done: number, error: Error | null}>} how many, and why not all, when a request after the first failed
 * @throws {import("../lib/api.js").ApiError} when the first failed
 */
export async function requeueGroup(group) {
  let done = 0;
  let next = group.next;
  while (next && done + next.expected <= group.events && next.up_to_position <= group.newest_position) {
    const body = { filter: { last_error: group.last_error }, ...next };
    try {
      done += (await send("POST", "sync-events/requeue", { body, timeout: SLOW })).data.requeued;
      if (done >= group.events) break;
      const { groups } = await getObject("sync-events/set-aside");
      next = groups.find((/** @type {Group} */ one) => one.last_error === group.last_error)?.next;
    } catch (error) {
      if (done === 0) throw error;
      return { done, error: /** @type {Error} */ (error) };
    }
  }
  return { done, error: null };
}
