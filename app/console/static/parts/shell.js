// @ts-check
/** What surrounds every page: navigation, who is logged in, and the keyboard. */

import { html, useLayoutEffect, useRef } from "../lib/html.js";
import { configuration } from "../lib/configuration.js";
import { visible } from "../lib/format.js";
import { useKeyboard } from "../lib/keyboard.js";
import { linkTo } from "../lib/route.js";
import { currentSession, logOut } from "../lib/session.js";
import { KeyboardHelp } from "./help.js";

export const PAGES = /** @type {const} */ ([
  ["overview", "Overview", "o"],
  ["ledger", "Ledger", "l"],
  ["set-aside", "Set aside", "a"],
  ["subscriptions", "Subscriptions", "s"],
  ["consistency", "Consistency", "c"],
  ["proof", "Proof", "p"],
]);

// Pages that open from another one: where the navigation says that you are.
/** @type {Record<string, string>} */
const PARENTS = {
  file: "ledger",
  event: "ledger",
  subscription: "subscriptions",
  delivery: "subscriptions",
  alert: "overview",
};

/** @param {{route: import("../lib/route.js").Route, title: string, children: any}} props */
export function Shell({ route, title, children }) {
  const help = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const isFirst = useRef(true);
  useKeyboard(PAGES, () => help.current?.showModal());
  // Before anything is painted, or it would take the focus from what is reached by a key at once.
  useLayoutEffect(() => {
    document.title = `${title} · ${configuration.title}`;
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
    scrollTo(0, 0);
  }, [route.page, route.id]);
  const here = PARENTS[route.page] ?? route.page;
  return html`
    <button class="skip" onClick=${() => main.current?.focus()}>Skip to the page</button>
    <div class="shell">
      <header>
        <a class="brand" href=${linkTo("overview")} tabindex="-1" aria-hidden="true">
          <img src="console/assets/icon.svg" alt="" width="22" height="22" /><span>${visible(configuration.title)}</span>
        </a>
        <nav aria-label="Console">
          ${PAGES.map(([page, name]) => {
            const current = here === page ? "page" : undefined;
            return html`<a href=${linkTo(page)} aria-current=${current}>${name}</a>`;
          })}
        </nav>
        <div class="who">
          <span class="subject" title="The subject of your token">${visible(currentSession()?.subject)}</span>
          <button class="plain" onClick=${() => help.current?.showModal()} aria-label="Keyboard help" title="Keyboard help">?</button>
          <button class="plain" onClick=${() => logOut("You have logged out.")}>Log out</button>
        </div>
      </header>
      <main tabindex="-1" ref=${main} aria-label=${title}>${children}</main>
    </div>
    <${KeyboardHelp} dialog=${help} pages=${PAGES} />
    <div id="announcements" class="hidden" role="status" aria-live="polite"></div>
  `;
}
