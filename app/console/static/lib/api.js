// @ts-check
/** Requests to the API, each with the token; every failure is a sentence. */

import { currentSession, logOut } from "./session.js";

/** @typedef {Record<string, string | number | boolean | null | undefined | string[]>} Query */

/**
 * @typedef {object} Options
 * @property {Query} [query]
 * @property {unknown} [body]  sent as JSON
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 * @property {number} [timeout]  in milliseconds
 */

const TIMEOUT = 20_000;
export const SLOW = 120_000; // of actions that take many transactions, or wait for another service

/** A request that failed. `status` is 0 when there is no response, or none that can be read. */
export class ApiError extends Error {
  /**
   * @param {string} message  a sentence
   * @param {{status?: number, type?: string, docs?: string, requestId?: string}} [details]
   */
  constructor(message, { status = 0, type = "", docs = "", requestId = "" } = {}) {
    super(message);
    this.status = status;
    this.type = type;
    this.docs = docs;
    this.requestId = requestId;
  }
}

/**
 * Send a request.
 *
 * @param {string} method
 * @param {string} path  relative to the page, without a leading slash
 * @param {Options} [options]
 * @returns {Promise<{data: any, headers: Headers}>}
 * @throws {ApiError}
 */
export async function send(method, path, options = {}) {
  const response = await open(method, path, options);
  const text = await readText(response);
  const data = parse(text, response);
  if (!response.ok) throw problem(response, data);
  return { data, headers: response.headers };
}

/**
 * GET what is an object.
 *
 * @param {string} path
 * @param {Query} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function getObject(path, query, signal) {
  const { data } = await send("GET", path, { query, signal });
  if (data === null || typeof data !== "object" || Array.isArray(data)) throw unreadable();
  return data;
}

/**
 * GET what is a list of objects.
 *
 * @param {string} path
 * @param {Query} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any[]>}
 * @throws {ApiError}
 */
export async function getList(path, query, signal) {
  const { data } = await send("GET", path, { query, signal });
  if (!Array.isArray(data) || data.some((item) => item === null || typeof item !== "object")) throw unreadable();
  return data;
}

/**
 * The response of a request, unread; a 401 ends the session.
 *
 * @param {string} method
 * @param {string} path
 * @param {Options} options
 * @returns {Promise<Response>}
 * @throws {ApiError} when there is no response
 */
export async function open(method, path, { query, body, headers, signal, timeout = TIMEOUT }) {
  const session = currentSession();
  if (session === null) throw new ApiError("You are logged out.", { status: 401 });
  const signals = [signal, timeout ? AbortSignal.timeout(timeout) : undefined].filter((one) => one !== undefined);
  let response;
  try {
    response = await fetch(path + encodeQuery(query), {
      method,
      headers: {
        Authorization: `Bearer ${session.token}`,
        ...(body !== undefined && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any(signals),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    throw noResponse(error);
  }
  if (response.status === 401 && currentSession() === session)
    logOut("The service did not accept the token, or it has expired.");
  return response;
}

/**
 * The problem of a response that is not ok.
 *
 * @param {Response} response
 * @param {any} data  its body
 */
export function problem(response, data) {
  const known = data !== null && typeof data === "object";
  const text = (/** @type {string} */ name) => (known && typeof data[name] === "string" ? data[name] : "");
  const fields = known && Array.isArray(data.errors) ? data.errors.map(describeField).filter(Boolean) : [];
  const sentence = text("detail") || text("title") || `The service responded with status ${response.status}.`;
  return new ApiError([sentence, ...fields].join(" "), {
    status: response.status,
    type: text("type"),
    docs: explanation(text("docs"), response.url),
    requestId: response.headers.get("X-Request-ID") ?? "",
  });
}

/** @param {any} error */
function describeField(error) {
  const place = Array.isArray(error?.loc)
    ? error.loc.filter((/** @type {unknown} */ one) => one !== "body").join(".")
    : "";
  return place && typeof error.msg === "string" ? `${place}: ${error.msg}.` : "";
}

/**
 * The page that explains a problem: followed only when it is one of the service's own.
 *
 * @param {string} reference  relative to the address of the response
 * @param {string} address
 */
function explanation(reference, address) {
  const url = URL.canParse(reference, address) ? new URL(reference, address) : null;
  return reference && url?.origin === location.origin && /\/problems\/[\w-]+$/.test(url.pathname) ? url.href : "";
}

/** @param {Query} [query] */
function encodeQuery(query = {}) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) pairs.append(name, String(one));
  }
  const text = pairs.toString();
  return text && `?${text}`;
}

/** @param {Response} response */
async function readText(response) {
  try {
    return await response.text();
  } catch (error) {
    throw noResponse(error);
  }
}

/**
 * @param {string} text
 * @param {Response} response
 */
function parse(text, response) {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    if (response.ok) throw unreadable();
    return null;
  }
}

function unreadable() {
  return new ApiError("The response of the service cannot be read. Is another program listening at this address?");
}

/** @param {unknown} error */
function noResponse(error) {
  const name = error instanceof Error ? error.name : "";
  if (name === "AbortError") return error;
  const sentence = name === "TimeoutError" ? "The service took too long to respond." : "The service cannot be reached.";
  return new ApiError(sentence);
}
