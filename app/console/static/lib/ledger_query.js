// @ts-check
/** The ledger's filters: in the address, for the list, and for the stream. */

/** What the stream can filter by; the other filters show a list that is loaded again instead. */
const OF_STREAM = ["event_type", "file_id"];
const OF_LIST = [...OF_STREAM, "state", "processed", "anomaly", "created_after", "created_before", "before_position"];

export const EVENT_TYPES = ["upload", "update", "delete"];
export const STATES = ["pending", "processed", "retrying", "waiting", "failed"];

/** @typedef {Record<string, string>} Filter */

/**
 * The filter of an address.
 *
 * @param {URLSearchParams} query
 * @returns {Filter}
 */
export const readFilter = (query) => Object.fromEntries(OF_LIST.map((name) => [name, query.get(name) ?? ""]));

/**
 * What of a filter goes to the stream.
 *
 * @param {Filter} filter
 * @returns {Filter}
 */
export const streamFilter = (filter) => Object.fromEntries(OF_STREAM.map((name) => [name, filter[name]]));

/**
 * Whether the stream can follow the filter.
 *
 * @param {Filter} filter
 */
export const isLive = (filter) => OF_LIST.every((name) => OF_STREAM.includes(name) || !filter[name]);

/**
 * A local time of a form field as RFC 3339, and back.
 *
 * @param {string} text
 */
export const toInstant = (text) => (text && !Number.isNaN(Date.parse(text)) ? new Date(text).toISOString() : "");

/** @param {string} instant */
export function toLocal(instant) {
  const time = Date.parse(instant);
  if (Number.isNaN(time)) return "";
  return new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
