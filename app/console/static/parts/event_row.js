// @ts-check
/** One event of the ledger as a row; hundreds of them stay as they are while new ones come. */

import { Component, html } from "../lib/html.js";
import { showJson, showNumber, visible } from "../lib/format.js";
import { linkTo } from "../lib/route.js";
import { EventState } from "./badge.js";
import { IdLink } from "./link.js";
import { Time } from "./time.js";

const SHORT = 160; // characters of metadata in a row

/** @extends {Component<{event: any, isOpen: boolean, onToggle: (position: number) => void, withFile?: boolean}>} */
export class EventRow extends Component {
  /** @param {any} next */
  shouldComponentUpdate(next) {
    return next.event !== this.props.event || next.isOpen !== this.props.isOpen;
  }

  render() {
    const { event, isOpen, onToggle, withFile = true } = this.props;
    return html`<tr>
      <td class="number"><a href=${linkTo("event", event.event_id)}>${showNumber(event.position)}</a></td>
      <td class="tight"><${Time} at=${event.created_at} /></td>
      <td class="tight">${visible(event.event_type)}</td>
      ${withFile && html`<td class="tight"><${IdLink} page="file" id=${event.file_id} /></td>`}
      <td class="words"><${Metadata} event=${event} isOpen=${isOpen} onToggle=${onToggle} /></td>
      <td class="tight"><${EventState} event=${event} /></td>
    </tr>`;
  }
}

/** @param {{event: any, isOpen: boolean, onToggle: (position: number) => void}} props */
function Metadata({ event, isOpen, onToggle }) {
  const text = showJson(event.metadata);
  const isEmpty = text === "{}" || text === "null";
  if (isEmpty && !event.last_error) return html`<span class="quiet">none</span>`;
  const short = text.length > SHORT ? `${text.slice(0, SHORT)}…` : text;
  return html`<button
      class="metadata"
      aria-expanded=${isOpen ? "true" : "false"}
      aria-label=${`Metadata of event ${event.position}`}
      onClick=${() => onToggle(event.position)}
    >
      <code>${isEmpty ? "{}" : short}</code>
    </button>
    ${isOpen && html`<pre>${showJson(event.metadata, 2)}</pre>`}
    ${isOpen && event.last_error && html`<p class="quiet">Error: ${visible(event.last_error)}</p>`}`;
}
