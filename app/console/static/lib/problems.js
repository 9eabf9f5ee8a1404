// @ts-check
/** What in an overview is not well, the worst first: each as a sentence, with what to do and its alert. */

import { CAPS, count, showDuration, showNumber } from "./format.js";
import { linkTo } from "./route.js";

const OLD_BACKLOG = 300; // seconds, as in the alert
const OLD_DELIVERY = 3600; // seconds, as in the alert

/**
 * @typedef {object} Trouble
 * @property {"bad" | "warn"} level
 * @property {string} sentence
 * @property {string} advice
 * @property {string} link
 * @property {string} [alert]  its heading in docs/alerts.md
 */

/**
 * @param {any} overview
 * @returns {Trouble[]}
 */
export function listProblems(overview) {
  const { active, paused, disabled } = overview.subscriptions;
  const age = overview.oldest_unprocessed_age_seconds ?? 0;
  /** @type {(Trouble | false)[]} */
  const found = [
    age > OLD_BACKLOG && {
      level: "bad",
      sentence: `The oldest unprocessed event has waited for ${showDuration(age)}.`,
      advice: "The sweep is behind or stands still: look at its log lines.",
      link: linkTo("ledger", "", { processed: "false" }),
      alert: "SyncBacklogOld",
    },
    overview.set_aside > 0 && {
      level: "bad",
      sentence: `${count(overview.set_aside, "event is", "events are", CAPS.overview)} set aside: every attempt to process them failed.`,
      advice: "Read the error, remove its cause, then requeue them.",
      link: linkTo("set-aside"),
      alert: "SyncEventsSetAside",
    },
    disabled.count > 0 && {
      level: "bad",
      sentence: `${count(disabled.count, "subscription is", "subscriptions are")} disabled: the receiver failed for days, or is gone.`,
      advice: "Have the receiver fixed, then make the subscription active: it continues where it stopped.",
      link: linkTo("subscriptions", "", { status: "disabled" }),
      alert: "SyncWebhookDisabled",
    },
    (active.oldest_pending_age_seconds ?? 0) > OLD_DELIVERY && {
      level: "warn",
      sentence: `A delivery has waited for ${showDuration(active.oldest_pending_age_seconds)}.`,
      advice: "Look at the attempts of the subscription: its receiver is slow or fails.",
      link: linkTo("subscriptions", "", { status: "active" }),
      alert: "SyncWebhookBacklogOld",
    },
    paused.backlog > 0 && {
      level: "warn",
      sentence: `Paused subscriptions are ${count(paused.backlog, "event")} behind.`,
      advice: "Make them active when their receivers are ready.",
      link: linkTo("subscriptions", "", { status: "paused" }),
    },
    overview.open_findings > 0 && {
      level: "warn",
      sentence: `${count(overview.open_findings, "finding is", "findings are", CAPS.overview)} open: a service differs from the ledger.`,
      advice: "Look at the files, then redeliver, compensate or accept.",
      link: linkTo("consistency", "", { state: "open" }),
      alert: "SyncFindingsOpen",
    },
    typeof overview.clock_ahead_seconds === "number" && {
      level: "warn",
      sentence: `The newest event is dated ${showNumber(overview.clock_ahead_seconds)} s after the database's clock.`,
      advice: "The clock of the database was set back, or a failover led to a server that is behind. The rate is unknown until it has caught up.",
      link: linkTo("ledger"),
    },
  ];
  return found
    .filter((one) => one !== false)
    .sort((one, other) => Number(one.level === "warn") - Number(other.level === "warn"));
}
