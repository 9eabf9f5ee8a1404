// @ts-check
/** The ledger as it grows: the newest events, then the stream; drawn at most four times a second. */

import { getList, getObject } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";
import { isLive, streamFilter } from "./ledger_query.js";
import { follow } from "./stream.js";
import { Tail } from "./tail.js";

const FIRST_ROWS = 50;
const DRAW_EVERY = 250; // milliseconds
const REFRESH_EVERY = 4000; // milliseconds
const REFRESHED_ROWS = 500;

/**
 * @typedef {object} LiveLedger
 * @property {Tail | null} tail  null until the first events are there
 * @property {Error | null} error
 * @property {boolean} isConnected  to the stream
 * @property {(isPaused: boolean) => void} pause
 */

/**
 * @param {import("./ledger_query.js").Filter} filter
 * @returns {LiveLedger}
 */
export function useLiveLedger(filter) {
  const [, draw] = useState(0);
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [isConnected, setConnected] = useState(false);
  const tail = useRef(/** @type {Tail | null} */ (null));
  const key = JSON.stringify(filter);

  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const redraw = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        draw((number) => number + 1);
      }, DRAW_EVERY);
    };
    const onState = (/** @type {Error | null} */ failure) => {
      setError(failure);
      setConnected(failure === null);
    };
    tail.current = null;
    onState(null);
    setConnected(false);
    void run(filter, tail, { signal, redraw, onState });
    const onRefresh = (/** @type {Error | null} */ failure) => {
      if (signal.aborted) return;
      if (!isLive(filter)) setError(failure); // of a live list the stream knows it first
      redraw();
    };
    const refresh = setInterval(
      () => void refreshStates(filter, tail.current, signal).then(() => onRefresh(null), onRefresh),
      REFRESH_EVERY,
    );
    return () => {
      controller.abort();
      clearTimeout(timer);
      clearInterval(refresh);
    };
  }, [key]);

  const pause = (/** @type {boolean} */ isPaused) => {
    if (!tail.current) return;
    tail.current.isPaused = isPaused;
    if (!isPaused) tail.current.show();
    draw((number) => number + 1);
  };
  return { tail: tail.current, error, isConnected, pause };
}

/**
 * Load and follow, and begin again after a failure, until the signal ends it.
 *
 * @param {import("./ledger_query.js").Filter} filter
 * @param {{current: Tail | null}} tail
 * @param {{signal: AbortSignal, redraw: () => void, onState: (error: Error | null) => void}} hooks
 */
async function run(filter, tail, { signal, redraw, onState }) {
  const query = streamFilter(filter);
  for (let wait = 2000; !signal.aborted; wait = Math.min(wait * 2, 30_000)) {
    try {
      const live = isLive(filter);
      const { cursor } = live
        ? await getObject("changes", { ...query, cursor: "latest", limit: 1 }, signal)
        : { cursor: "" };
      const events = await getList("sync-events", { ...filter, limit: FIRST_ROWS }, signal);
      if (signal.aborted) return;
      if (tail.current?.isPaused) tail.current.bridge(events);
      else tail.current = new Tail(events);
      onState(null);
      redraw();
      if (!live) return;
      const onChanges = (/** @type {any[]} */ changes) => {
        tail.current?.add(changes);
        redraw();
      };
      await follow({ query, cursor, onChanges, onState, signal });
    } catch (error) {
      if (signal.aborted) return;
      onState(/** @type {Error} */ (error));
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/**
 * What became of the shown events that were not settled. A filtered list, which no stream follows, is read again whole.
 *
 * @param {import("./ledger_query.js").Filter} filter
 * @param {Tail | null} tail
 * @param {AbortSignal} signal
 */
async function refreshStates(filter, tail, signal) {
  if (!tail || tail.isPaused || document.visibilityState !== "visible") return;
  if (!isLive(filter)) {
    tail.rows = await getList("sync-events", { ...filter, limit: FIRST_ROWS }, signal);
    return;
  }
  const highest = tail.unsettled();
  if (highest === 0) return;
  const query = { ...filter, before_position: highest + 1, limit: REFRESHED_ROWS };
  tail.refresh(await getList("sync-events", query, signal));
}
