// @ts-check
/** What a screen reader says of changes: politely, and at most every five seconds. */

const PAUSE = 5000; // milliseconds

let last = 0;
let waiting = "";
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Say a sentence; of several within five seconds the last one.
 *
 * @param {string} sentence
 */
export function announce(sentence) {
  waiting = sentence;
  timer ??= setTimeout(say, Math.max(0, last + PAUSE - Date.now()));
}

function say() {
  timer = undefined;
  last = Date.now();
  const region = document.getElementById("announcements");
  if (region) region.textContent = waiting;
}
