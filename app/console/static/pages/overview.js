// @ts-check
/** Whether all is well, and if not what, why and what to do. */

import { html, useEffect, useState } from "../lib/html.js";
import { announce } from "../lib/announce.js";
import { getObject } from "../lib/api.js";
import { CAPS, count, showDuration, showNumber, showRate, visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { linkTo } from "../lib/route.js";
import { listProblems } from "../lib/problems.js";
import { loadThroughput, SPANS } from "../lib/throughput.js";
import { RateChart, RateTable } from "../parts/chart.js";
import { Loaded, Problem, Skeleton } from "../parts/feedback.js";

const EVERY = 5; // seconds
const CHART_EVERY = 20; // seconds

export function Overview() {
  const poll = usePoll((signal) => getObject("overview", {}, signal), EVERY, []);
  return html`<h1>Overview</h1>
    <${Loaded} poll=${poll} lines=${8}>
      ${(/** @type {any} */ overview) => html`<${Status} overview=${overview} isOld=${poll.error !== null} />`}
    <//>
    ${(poll.data || !poll.error) && html`<${Rate} />`}
    ${poll.data && html`<p class="quiet foot">Version ${visible(poll.data.version)}, replica ${visible(poll.data.replica)}</p>`}`;
}

/** @param {{overview: any, isOld: boolean}} props */
function Status({ overview, isOld }) {
  const problems = listProblems(overview);
  const sentence = problems.length ? problems[0].sentence : "No problem in what is measured here.";
  useEffect(() => announce(sentence), [sentence]);
  return html`
    <section class="verdict" aria-label="Status">
      ${
        problems.length === 0 &&
        !isOld &&
        html`<p><span class="mark good" aria-hidden="true">✓</span><span><strong>${sentence}</strong></span></p>`
      }
      ${problems.map(
        (problem) => html`<div class="finding">
          <span class=${`mark ${problem.level}`} aria-hidden="true">!</span>
          <p>
            <a href=${problem.link}><strong>${problem.sentence}</strong></a> ${problem.advice}
            ${problem.alert && html` <a class="quiet" href=${linkTo("alert", problem.alert)}>docs/alerts.md</a>`}
          </p>
        </div>`,
      )}
    </section>
    <${Tiles} overview=${overview} />
  `;
}

/** @param {{overview: any}} props */
function Tiles({ overview }) {
  const { active, paused, disabled } = overview.subscriptions;
  const waiting = [active, paused, disabled].reduce((sum, one) => sum + one.backlog, 0);
  const subscriptions = [
    count(active.count, "active", "active"),
    paused.count && `${showNumber(paused.count)} paused`,
    disabled.count && `${showNumber(disabled.count)} disabled`,
  ];
  return html`<dl class="tiles">
    <${Tile}
      name="Events per second"
      value=${showRate(overview.events_per_second)}
      note="in the last minute"
      href=${linkTo("ledger")}
    />
    <${Tile}
      name="Ledger"
      value=${showNumber(overview.head_position)}
      note=${overview.head_position ? "events so far" : "no event so far"}
      href=${linkTo("ledger")}
    />
    <${Tile}
      name="Backlog"
      value=${showNumber(overview.backlog)}
      note=${overview.backlog ? `the oldest for ${showDuration(overview.oldest_unprocessed_age_seconds)}` : "every event is processed"}
      href=${linkTo("ledger", "", { processed: "false" })}
    />
    <${Tile}
      name="Set aside"
      value=${showNumber(overview.set_aside, CAPS.overview)}
      note=${overview.set_aside ? "failed in every attempt" : "no event failed"}
      href=${linkTo("set-aside")}
    />
    <${Tile}
      name="Subscriptions"
      value=${showNumber(waiting)}
      note=${`deliveries wait · ${subscriptions.filter(Boolean).join(", ")}`}
      href=${linkTo("subscriptions")}
    />
    <${Tile}
      name="Findings"
      value=${showNumber(overview.open_findings)}
      note=${overview.open_findings ? "services disagree with the ledger" : "no service disagrees"}
      href=${linkTo("consistency", "", { state: "open" })}
    />
    <${Tile}
      name="Proof"
      value=${overview.audit ? "ready" : "none"}
      note=${overview.audit ? "of the ledger" : "this release has no audit"}
      href=${linkTo("proof")}
    />
  </dl>`;
}

/** @param {{name: string, value: string, note: string, href: string}} props */
const Tile = ({ name, value, note, href }) => html`<div class="tile">
  <dt><a href=${href}>${name}</a></dt>
  <dd class="figure">${value}</dd>
  <dd class="quiet">${note}</dd>
</div>`;

function Rate() {
  const [span, setSpan] = useState(SPANS.hour);
  const poll = usePoll((signal) => loadThroughput(span, Date.now(), signal), CHART_EVERY, [span]);
  return html`<section aria-labelledby="rate-title">
    <div class="heading">
      <h2 id="rate-title">Events per second <span class="quiet">(times in UTC)</span></h2>
      <div class="choice" role="group" aria-label="Span of the chart">
        ${Object.values(SPANS).map(
          (one) =>
            html`<button aria-pressed=${one === span ? "true" : "false"} onClick=${() => setSpan(one)}>${one.name}</button>`,
        )}
      </div>
    </div>
    <${Problem} error=${poll.error} retries />
    ${
      poll.data
        ? html`<${RateChart} points=${poll.data} /><${RateTable} points=${poll.data} />`
        : !poll.error && html`<div class="chart"><${Skeleton} lines=${5} /></div>`
    }
  </section>`;
}
