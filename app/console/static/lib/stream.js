// @ts-check
/** The stream of changes, by `fetch`, which can send the token; it continues after every interruption. */

import { ApiError, open, problem } from "./api.js";
import { logOut } from "./session.js";

const MAX_WAIT = 30_000; // milliseconds
const SILENCE = 45_000; // milliseconds; the service sends a comment after 15 s, unless it is set otherwise

/**
 * @typedef {object} Follower
 * @property {import("./api.js").Query} query  the filter
 * @property {string} cursor  where to begin
 * @property {(changes: any[]) => void} onChanges  by rising position
 * @property {(error: Error | null) => void} onState  null: connected
 * @property {AbortSignal} signal  ends it
 */

/**
 * Follow the changes until `signal` ends it, or the service refuses the cursor.
 *
 * @param {Follower} follower
 * @throws {ApiError} when the cursor is refused
 */
export async function follow({ query, cursor, onChanges, onState, signal }) {
  let wait = 1000;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const messages = await connect(query, cursor, signal);
      onState(null);
      for await (const batch of messages) {
        failures = 0;
        const changes = [];
        for (const message of batch) {
          if (message.event === "change") changes.push(JSON.parse(message.data ?? ""));
          if (message.event === "reconnect" && message.data?.includes("token-expired"))
            logOut("Your token has expired.");
          cursor = message.id ?? cursor;
          wait = Number(message.retry ?? wait) || wait;
        }
        if (changes.length) onChanges(changes);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && [400, 410].includes(error.status)) throw error;
      failures += 1;
      onState(/** @type {Error} */ (error));
    }
    await pause(Math.min(MAX_WAIT, wait * 2 ** Math.max(0, failures - 1)), signal);
  }
}

/**
 * @param {import("./api.js").Query} query
 * @param {string} cursor
 * @param {AbortSignal} signal
 */
async function connect(query, cursor, signal) {
  const own = new AbortController();
  const stop = AbortSignal.any([signal, own.signal]);
  const response = await open("GET", "changes/stream", {
    query,
    headers: { "Last-Event-ID": cursor },
    signal: stop,
    timeout: 0,
  });
  if (!response.ok) throw problem(response, await response.json().catch(() => null));
  if (!response.body || !response.headers.get("Content-Type")?.startsWith("text/event-stream"))
    throw new ApiError("The service sent no stream.");
  return readMessages(response.body, own);
}

/** @typedef {Record<string, string | undefined>} Message */

/**
 * The messages of each piece that arrives (HTML standard, section 9.2.6, as far as the service uses it).
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {AbortController} controller  ends the request when nothing comes any more
 * @returns {AsyncGenerator<Message[]>}
 */
async function* readMessages(body, controller) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let buffer = "";
  try {
    for (;;) {
      const timer = setTimeout(() => controller.abort(), SILENCE);
      const part = await reader.read().finally(() => clearTimeout(timer));
      if (part.done) return;
      const blocks = (buffer + part.value).split("\n\n");
      buffer = blocks.pop() ?? "";
      yield blocks.map(parseMessage);
    }
  } catch {
    throw new ApiError("The connection to the service was lost.");
  } finally {
    controller.abort();
  }
}

/**
 * @param {string} block
 * @returns {Message}
 */
function parseMessage(block) {
  /** @type {Message} */
  const message = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) message[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
  }
  return message;
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      resolve(undefined);
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end, { once: true });
  });
}
