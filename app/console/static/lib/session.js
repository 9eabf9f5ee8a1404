// @ts-check
/** The token: kept in a variable of this module, and nowhere else. */

import { configuration } from "./configuration.js";

/**
 * @typedef {object} Session
 * @property {string} token
 * @property {string} subject
 * @property {Set<string>} scopes
 * @property {number | null} expiresAt  in milliseconds since 1970
 */

export const READ = "read:sync";
export const ADMIN = "admin:sync";

const MAX_TIMER = 2 ** 31 - 1; // milliseconds; longer ones fire at once

/** @type {Session | null} */
let session = null;
let notice = "";
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {Set<() => void>} */
const listeners = new Set();

/** The session, or null before the login. */
export const currentSession = () => session;

/** Why there is no session any more: a sentence, or nothing. */
export const sessionNotice = () => notice;

/**
 * Call `listener` whenever the session begins or ends.
 *
 * @param {() => void} listener
 * @returns {() => void} stops that
 */
export function watchSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * Begin a session.
 *
 * @param {string} text  the token, perhaps with `Bearer` before it
 * @throws {Error} with a sentence when it is no token, or has expired
 */
export function logIn(text) {
  const token = text.trim().replace(/^Bearer\s+/i, "");
  const claims = readClaims(token);
  const expiresAt = typeof claims.exp === "number" ? claims.exp * 1000 : null;
  if (expiresAt !== null && expiresAt <= Date.now()) throw new Error("This token has expired.");
  begin({ token, subject: String(claims.sub ?? ""), scopes: readScopes(claims), expiresAt });
}

/**
 * End the session, if there is one.
 *
 * @param {string} reason  a sentence for the login
 */
export function logOut(reason) {
  clearTimeout(timer);
  notice = reason;
  session = null;
  for (const listener of listeners) listener();
}

/**
 * Whether the token carries the scope.
 *
 * @param {string} scope
 */
export const hasScope = (scope) => session?.scopes.has(scope) ?? false;

/**
 * Whether a page that needs `scope` may send its requests; reading is free unless scopes are enforced.
 *
 * @param {string} scope
 */
export const mayOpen = (scope) => hasScope(scope) || (scope === READ && !configuration.enforce_scopes);

/** @param {Session} next */
function begin(next) {
  session = next;
  notice = "";
  watchExpiry();
  for (const listener of listeners) listener();
}

function watchExpiry() {
  clearTimeout(timer);
  if (!session || session.expiresAt === null) return;
  const left = session.expiresAt - Date.now();
  timer = setTimeout(
    () => (left > MAX_TIMER ? watchExpiry() : logOut("Your token has expired.")),
    Math.min(left, MAX_TIMER),
  );
}

/**
 * The claims of a token, unverified: the service verifies it with each request.
 *
 * @param {string} token
 * @returns {Record<string, unknown>}
 */
function readClaims(token) {
  try {
    if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) throw new Error("no JWS");
    const bytes = Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (c) =>
      c.charCodeAt(0),
    );
    return Object(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    throw new Error("This is not a token: a token has three parts, separated by dots.");
  }
}

/**
 * @param {Record<string, unknown>} claims
 * @returns {Set<string>}
 */
function readScopes({ scope, permissions }) {
  const words = typeof scope === "string" ? scope.split(" ") : [];
  const listed = Array.isArray(permissions) ? permissions.filter((one) => typeof one === "string") : [];
  return new Set([...words, ...listed]);
}
