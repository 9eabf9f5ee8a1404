// @ts-check
/** Routes in the fragment: `#/ledger?state=failed`. */

import { useEffect, useState } from "./html.js";

/**
 * @typedef {object} Route
 * @property {string} page  the first part of the path
 * @property {string} id  the second part, or nothing
 * @property {URLSearchParams} query
 */

/** The route of the address. */
export function currentRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", id = ""] = path.split("/").map(decode);
  return { page: page || "overview", id, query: new URLSearchParams(query) };
}

/** The route, drawn again when it changes. */
export function useRoute() {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const follow = () => setRoute(currentRoute());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}

/**
 * A link to a page of the console.
 *
 * @param {string} page
 * @param {string} [id]
 * @param {Record<string, string>} [query]  empty values are left out
 */
export function linkTo(page, id = "", query = {}) {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return `#/${page}${id && `/${encodeURIComponent(id)}`}${text && `?${text}`}`;
}

/**
 * Go to a page.
 *
 * @param {string} link
 */
export function goTo(link) {
  location.hash = link;
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
