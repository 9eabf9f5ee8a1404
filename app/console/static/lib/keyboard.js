// @ts-check
/** Keys that work on every page: `/` searches, `g` and a letter goes to a page, `?` lists them. */

import { useLayoutEffect } from "./html.js";
import { goTo, linkTo } from "./route.js";

const PATIENCE = 1500; // milliseconds between `g` and the letter

/**
 * @param {ReadonlyArray<readonly [string, string, string]>} pages  path, name and letter of each
 * @param {() => void} showHelp
 */
export function useKeyboard(pages, showHelp) {
  useLayoutEffect(() => {
    let goAt = 0;
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      const page = pages.find(([, , letter]) => letter === event.key);
      if (page && event.timeStamp - goAt < PATIENCE) goTo(linkTo(page[0]));
      else if (event.key === "?") showHelp();
      else if (event.key === "/") focusSearch();
      else {
        goAt = event.key === "g" ? event.timeStamp : 0;
        return;
      }
      goAt = 0;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

function focusSearch() {
  const field = document.querySelector("input[type=search]");
  if (field instanceof HTMLElement) field.focus();
  else goTo(linkTo("ledger"));
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof Element && target.closest("input, select, textarea, dialog[open]") !== null;
}
