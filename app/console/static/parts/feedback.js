// @ts-check
/** What a page shows instead of data: that it loads, that there is none, that it is not allowed, that something failed. */

import { html, useEffect, useErrorBoundary } from "../lib/html.js";
import { visible } from "../lib/format.js";

/**
 * Grey lines in the place of what is being loaded.
 *
 * @param {{lines?: number}} props
 */
export function Skeleton({ lines = 6 }) {
  const widths = Array.from({ length: lines }, (_, index) => `skeleton-line width-${index % 3}`);
  return html`<div class="skeleton" aria-busy="true">
    <span class="hidden">Loading</span>${widths.map((name) => html`<span class=${name}></span>`)}
  </div>`;
}

/**
 * There is nothing, and what to do about it.
 *
 * @param {{title: string, children?: any}} props
 */
export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p><p>${children}</p></div>`;
}

/**
 * The token lacks the scope of a page, which sends no request then.
 *
 * @param {{scope: string}} props
 */
export function MissingScope({ scope }) {
  return html`<div class="empty">
    <p class="empty-title">Your token lacks the scope <code>${scope}</code>.</p>
    <p>This page needs it. Log out, and log in with a token that carries it.</p>
  </div>`;
}

/**
 * A failure as a sentence, with the page that explains it and the request's id.
 *
 * @param {{error: any, retries?: boolean}} props
 */
export function Problem({ error, retries = false }) {
  if (!error) return null;
  return html`<div class="problem" role="alert">
    <p><strong>${visible(error.message)}</strong> ${retries && "The page tries again by itself."}</p>
    ${
      (error.docs || error.requestId) &&
      html`<p class="quiet">
      ${error.docs && html`<a href=${error.docs} target="_blank" rel="noopener">What this means</a> `}
      ${error.requestId && html`Request <code>${visible(error.requestId)}</code>`}
    </p>`
    }
  </div>`;
}

/**
 * What a poll shows: a skeleton, the failure, the data, or the failure above the last data.
 *
 * @param {{poll: import("../lib/poll.js").Polled<any>, lines?: number, children: (data: any) => any}} props
 */
export function Loaded({ poll, lines, children }) {
  return html`
    <${Problem} error=${poll.error} retries />
    ${poll.data === null ? !poll.error && html`<${Skeleton} lines=${lines} />` : children(poll.data)}
  `;
}

/**
 * Keeps a failure to draw its children to itself, and tries again.
 *
 * @param {{children: any}} props
 */
export function Guard({ children }) {
  const [error, retry] = useErrorBoundary();
  useEffect(() => {
    if (!error) return undefined;
    const timer = setTimeout(retry, 5000);
    return () => clearTimeout(timer);
  }, [error]);
  if (!error) return children;
  return html`<${Problem} error=${new Error("The response of the service cannot be shown.")} retries />`;
}
