// @ts-check
/** Data that is loaded again and again while a page is looked at, and that recovers by itself. */

import { useCallback, useEffect, useRef, useState } from "./html.js";

const MAX_WAIT = 30_000; // milliseconds

/**
 * @template T
 * @typedef {object} Polled
 * @property {T | null} data  the last that was loaded, also while later attempts fail
 * @property {Error | null} error  of the last attempt
 * @property {() => void} reload  now
 */

/**
 * Load now, and then `seconds` after each response, not while the page is hidden; after failures less often.
 *
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {number} seconds  0: once, and again only after a failure
 * @param {unknown[]} inputs  load from the beginning when one of these changes
 * @returns {Polled<T>}
 */
export function usePoll(load, seconds, inputs) {
  const [state, setState] = useState(
    /** @type {{data: T | null, error: Error | null}} */ ({ data: null, error: null }),
  );
  const trigger = useRef(() => {});
  useEffect(() => {
    setState({ data: null, error: null });
    return repeat(load, seconds, setState, trigger);
  }, inputs);
  return { ...state, reload: useCallback(() => trigger.current(), []) };
}

/**
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {number} seconds
 * @param {(next: (before: {data: T | null, error: Error | null}) => {data: T | null, error: Error | null}) => void} setState
 * @param {{current: () => void}} trigger
 * @returns {() => void} stops it
 */
function repeat(load, seconds, setState, trigger) {
  let controller = new AbortController();
  let failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const run = async () => {
    clearTimeout(timer);
    controller.abort();
    const own = (controller = new AbortController());
    try {
      const data = await load(own.signal);
      if (own.signal.aborted) return;
      failures = 0;
      setState(() => ({ data, error: null }));
    } catch (error) {
      if (own.signal.aborted) return;
      failures += 1;
      setState((before) => ({ data: before.data, error: /** @type {Error} */ (error) }));
    }
    const wait = failures ? Math.min(MAX_WAIT, 2000 * 2 ** (failures - 1)) : seconds * 1000;
    if (wait) timer = setTimeout(runWhenSeen, Math.max(wait, failures ? 0 : 1000));
  };
  const runWhenSeen = () => {
    if (document.visibilityState === "visible") void run();
    else document.addEventListener("visibilitychange", run, { once: true });
  };

  trigger.current = () => void run();
  void run();
  return () => {
    clearTimeout(timer);
    controller.abort();
    document.removeEventListener("visibilitychange", run);
  };
}
