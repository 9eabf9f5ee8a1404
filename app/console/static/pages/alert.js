// @ts-check
/** A section of docs/alerts.md: what an alert means, where to look, and what to do. */

import { html } from "../lib/html.js";
import { ApiError } from "../lib/api.js";
import { visible } from "../lib/format.js";
import { usePoll } from "../lib/poll.js";
import { Loaded } from "../parts/feedback.js";

/** @param {{route: import("../lib/route.js").Route}} props */
export function Alert({ route }) {
  const poll = usePoll((signal) => load(route.id, signal), 0, [route.id]);
  return html`<h1>${visible(route.id)}</h1>
    <${Loaded} poll=${poll}>${(/** @type {string[]} */ blocks) => html`<div class="prose">${blocks.map(showBlock)}</div>`}<//>
    <p class="quiet foot">From docs/alerts.md of this release. <code>$URL</code> stands for a replica, <code>$TOKEN</code> for a token.</p>`;
}

/**
 * The blocks of a section.
 *
 * @param {string} name
 * @param {AbortSignal} signal
 * @returns {Promise<string[]>}
 */
async function load(name, signal) {
  const response = await fetch("console/alerts.md", { signal }).catch((error) => {
    throw signal.aborted ? error : new ApiError("The service cannot be reached.");
  });
  if (!response.ok) throw new ApiError(`docs/alerts.md cannot be loaded: status ${response.status}.`);
  const text = await response.text();
  const section = text.split(/^## /m).find((one) => one.startsWith(`${name}\n`));
  if (section === undefined) throw new ApiError("docs/alerts.md has no such alert.");
  return section
    .slice(name.length)
    .split(/\n{2,}|\n(?=[-|] ?)/)
    .filter((block) => block.trim());
}

/** @param {string} block */
function showBlock(block) {
  const text = block.trim().replaceAll(/\s*\n\s*/g, " ");
  if (/^\|[-| ]+\|$/.test(text)) return null;
  if (text.startsWith("|"))
    return html`<p class="cells">${showInline(
      text
        .replaceAll(/^\||\|$/g, "")
        .replaceAll("|", " – ")
        .trim(),
    )}</p>`;
  if (text.startsWith("- ")) return html`<p class="point">${showInline(text.slice(2))}</p>`;
  return html`<p>${showInline(text)}</p>`;
}

/** Code, bold text and the text of links. @param {string} text */
function showInline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/).map((part) => {
    if (part.startsWith("`")) return html`<code>${visible(part.slice(1, -1))}</code>`;
    if (part.startsWith("**")) return html`<strong>${visible(part.slice(2, -2))}</strong>`;
    if (part.startsWith("[")) return visible(part.slice(1, part.indexOf("]")));
    return visible(part);
  });
}
