// @ts-check
/** Numbers, times and foreign text as people read them. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const coarse = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** Where the service stops to count: of the overview, of a subscription, of a file's subscription. */
export const CAPS = { overview: 100_000, subscription: 10_001, file: 1001 };

// Characters that change the order of the text around them, or cannot be seen at all.
const INVISIBLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const UNITS = /** @type {const} */ ([
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
]);

/**
 * Foreign text with its invisible and direction-changing characters escaped.
 *
 * @param {unknown} text
 */
export const visible = (text) =>
  String(text ?? "").replace(INVISIBLE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

/**
 * JSON of a value, its invisible characters escaped.
 *
 * @param {unknown} value
 * @param {number} [indent]
 */
export const showJson = (value, indent) => visible(JSON.stringify(value, null, indent));

/**
 * A whole number with thousands separators; a dash for none.
 *
 * @param {number | null | undefined} number
 * @param {number} [cap]  at which the service stops to count, in whole thousands or one more: `10,000+`
 */
export function showNumber(number, cap = Infinity) {
  if (typeof number !== "number") return "–";
  return number < cap ? whole.format(number) : `${whole.format(cap - (cap % 1000))}+`;
}

/**
 * Events per second.
 *
 * @param {number | null | undefined} rate
 */
export function showRate(rate) {
  if (typeof rate !== "number") return "–";
  return (rate < 10 ? fine : rate < 100 ? coarse : whole).format(rate);
}

/**
 * A number with its noun.
 *
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 * @param {number} [cap]  as of `showNumber`
 */
export const count = (number, one, many = `${one}s`, cap = Infinity) =>
  `${showNumber(number, cap)} ${number === 1 ? one : many}`;

/**
 * A duration in its two largest units: `2 h 5 min`; a dash for none.
 *
 * @param {number | null | undefined} seconds
 */
export function showDuration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${coarse.format(Math.max(0, seconds))} s`;
  const index = UNITS.findIndex(([size]) => seconds >= size);
  const [size, unit] = UNITS[index];
  const [nextSize, nextUnit] = UNITS[index + 1] ?? [1, ""];
  const rest = Math.floor((seconds % size) / nextSize);
  return `${Math.floor(seconds / size)} ${unit}${nextUnit && rest ? ` ${rest} ${nextUnit}` : ""}`;
}

/**
 * How long ago, or in how long: `12 s ago`, `in 3 min`.
 *
 * @param {string} time  RFC 3339
 * @param {number} now  in milliseconds
 */
export function showAge(time, now) {
  const seconds = (now - Date.parse(time)) / 1000;
  if (!Number.isFinite(seconds)) return visible(time);
  const distance = Math.abs(seconds);
  if (distance < 1.5) return "just now";
  const [size, unit] = UNITS.find(([unitSize]) => distance >= unitSize) ?? UNITS[3];
  const text = `${Math.floor(distance / size)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/**
 * The exact time: `2026-01-15 10:30:00.212 UTC`.
 *
 * @param {string} time  RFC 3339
 */
export function showExactTime(time) {
  const milliseconds = Date.parse(time);
  if (Number.isNaN(milliseconds)) return visible(time);
  return `${new Date(milliseconds).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

/**
 * The last part of an id, which is what differs between ids made at the same time.
 *
 * @param {string} id
 */
export const shortId = (id) => (String(id).length > 13 ? `…${visible(id).slice(-12)}` : visible(id));

/**
 * A word of the API for people: `set_aside` is `set aside`.
 *
 * @param {unknown} word
 */
export const showWord = (word) => visible(word).replaceAll("_", " ");
