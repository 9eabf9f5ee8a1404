// @ts-check
/** Links to things that have no name but an id. */

import { html } from "../lib/html.js";
import { shortId } from "../lib/format.js";
import { linkTo } from "../lib/route.js";

/** @param {{page: "file" | "subscription", id: string}} props  shortened; the whole id on hover */
export const IdLink = ({ page, id }) =>
  html`<a class="id" href=${linkTo(page, id)} title=${id}>${shortId(id)}</a>`;
