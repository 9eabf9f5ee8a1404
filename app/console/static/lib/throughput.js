// @ts-check
/** Events per second over time, from the buckets of `GET /throughput`. */

import { getObject } from "./api.js";

/**
 * @typedef {object} Span
 * @property {string} id
 * @property {string} name
 * @property {number} seconds  of a bucket
 * @property {number} buckets
 */

/** @type {Record<string, Span>} */
export const SPANS = {
  hour: { id: "hour", name: "Last hour", seconds: 60, buckets: 60 },
  day: { id: "day", name: "Last day", seconds: 900, buckets: 96 },
};

/**
 * @typedef {object} Point
 * @property {string} from
 * @property {string} to
 * @property {number} events
 * @property {number | null} rate  events per second; null in the first half of a bucket that is not over
 */

/**
 * The buckets of a span that ends with the bucket of `now`, which is not over yet.
 *
 * @param {Span} span
 * @param {number} now  in milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<Point[]>}
 */
export async function loadThroughput({ seconds, buckets }, now, signal) {
  const size = seconds * 1000;
  const to = Math.ceil(now / size) * size;
  const from = to - buckets * size;
  const query = { from: new Date(from).toISOString(), to: new Date(to).toISOString(), buckets };
  const found = (await getObject("throughput", query, signal)).buckets;
  return found.map((/** @type {{from: string, to: string, events: number}} */ bucket) => {
    const elapsed = (Math.min(Date.parse(bucket.to), now) - Date.parse(bucket.from)) / 1000;
    return { ...bucket, rate: elapsed < seconds / 2 ? null : bucket.events / elapsed };
  });
}
