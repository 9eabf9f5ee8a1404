// @ts-check
/** The newest events of a live ledger: which rows are shown, which wait during a pause, and how many were left out. */

export const MAX_ROWS = 500;

/** @typedef {{position: number, state: string, [member: string]: any}} LedgerEvent */

export class Tail {
  /** @param {LedgerEvent[]} events  newest first */
  constructor(events) {
    this.rows = events;
    /** @type {LedgerEvent[]} newest first, at most as many as are shown */
    this.held = [];
    this.heldCount = 0;
    this.leftOut = 0;
    this.isPaused = false;
    this.highest = events[0]?.position ?? 0;
  }

  /**
   * Take events from the stream; those at or below the highest known position are known already.
   *
   * @param {LedgerEvent[]} changes  by rising position
   */
  add(changes) {
    const fresh = changes.filter(({ position }) => position > this.highest).reverse();
    if (fresh.length === 0) return;
    this.highest = fresh[0].position;
    this.held = [...fresh, ...this.held].slice(0, MAX_ROWS);
    this.heldCount += fresh.length;
    if (!this.isPaused) this.show();
  }

  /**
   * Continue a pause with the newest events after the stream was refused; what lies between is left out.
   *
   * @param {LedgerEvent[]} events  newest first
   */
  bridge(events) {
    const oldest = events.at(-1)?.position ?? 0;
    this.leftOut += Math.max(0, oldest - this.highest - 1);
    this.add([...events].reverse());
  }

  /** Show what waits, and count what there is no row for. */
  show() {
    const total = this.rows.length + this.heldCount;
    this.rows = [...this.held, ...this.rows].slice(0, MAX_ROWS);
    this.leftOut += total - this.rows.length;
    this.held = [];
    this.heldCount = 0;
  }

  /** The highest shown position whose event may still change, or 0. */
  unsettled() {
    return this.rows.find(({ state }) => state !== "processed")?.position ?? 0;
  }

  /**
   * Replace shown events by what they are now.
   *
   * @param {LedgerEvent[]} events
   */
  refresh(events) {
    const known = new Map(events.map((event) => [event.position, event]));
    this.rows = this.rows.map((row) => {
      const now = known.get(row.position);
      return now && (now.state !== row.state || now.last_error !== row.last_error) ? now : row;
    });
  }
}
