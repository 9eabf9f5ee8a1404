// @ts-check
/** A dialog that does something: what is asked for, the count to type before what is dangerous, and the result. */

import { html, useEffect, useId, useRef, useState } from "../lib/html.js";
import { announce } from "../lib/announce.js";
import { showNumber } from "../lib/format.js";
import { Problem } from "../parts/feedback.js";

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {string} [type]  of the input; `select` and `textarea` too
 * @property {string} [value]
 * @property {string[][]} [options]  of a select: value and text
 * @property {boolean} [isRequired]
 * @property {string} [help]
 */

/** @typedef {Record<string, string>} Values */

/**
 * @typedef {object} Action
 * @property {string} title
 * @property {any} [text]
 * @property {Field[]} [fields]
 * @property {(values: Values) => number} [count]  what must be typed before it is done
 * @property {string} button
 * @property {(values: Values) => Promise<any>} run  a sentence for the page, elements to show in the dialog, the action that
 *   follows in the same dialog, or nothing when it has led to another page
 */

/**
 * Actions of a page: `begin` opens the dialog, `view` is to be drawn somewhere.
 *
 * @param {() => void} [onDone]  after each action, e.g. to load again
 * @returns {{begin: (action: Action) => void, view: any}}
 */
export function useAction(onDone = () => {}) {
  const [action, setAction] = useState(/** @type {Action | null} */ (null));
  const [notice, setNotice] = useState("");
  const end = (/** @type {string} */ sentence) => {
    setAction(null);
    setNotice(sentence);
    if (sentence) announce(sentence);
  };
  const view = html`
    ${notice && html`<p class="notice good">${notice}</p>`} ${action && html`<${ActionDialog} action=${action} onEnd=${end} onDone=${onDone} />`}
  `;
  return {
    begin: (next) => {
      setNotice("");
      setAction(next);
    },
    view,
  };
}

/** @param {Action} action @returns {Values} */
const initialValues = ({ fields = [] }) => Object.fromEntries(fields.map(({ name, value = "" }) => [name, value]));

/** @param {{action: Action, onEnd: (sentence: string) => void, onDone: () => void}} props */
function ActionDialog({ action: first, onEnd, onDone }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [action, setAction] = useState(first);
  const [values, setValues] = useState(() => initialValues(first));
  const [typed, setTyped] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [result, setResult] = useState(/** @type {any} */ (null));
  const outcomeSentence = useRef("");
  const titleId = useId();
  useEffect(() => dialog.current?.showModal(), []);
  const count = action.count?.(values);
  const isConfirmed = count === undefined || typed.replace(/[\s,.]/g, "") === String(count);

  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!isConfirmed || isBusy) return;
    setBusy(true);
    setError(null);
    try {
      const outcome = await action.run(values);
      if (outcome === undefined) return; // it has led to another page
      onDone();
      if (typeof outcome.run === "function") {
        setAction(outcome);
        setValues(initialValues(outcome));
        setTyped("");
      } else if (typeof outcome === "string") {
        outcomeSentence.current = outcome;
        dialog.current?.close(); // gives the focus back
      } else setResult(outcome);
    } catch (failed) {
      setError(/** @type {Error} */ (failed));
    }
    setBusy(false);
  };
  const set = (/** @type {string} */ name, /** @type {string} */ value) =>
    setValues((before) => ({ ...before, [name]: value }));
  // A browser lets a second Esc close the dialog whatever `cancel` says; what is under way must still show its result.
  const onClose = () => (isBusy && !outcomeSentence.current ? dialog.current?.showModal() : onEnd(outcomeSentence.current));
  const onCancel = (/** @type {Event} */ event) => isBusy && event.preventDefault();
  return html`<dialog ref=${dialog} aria-labelledby=${titleId} onCancel=${onCancel} onClose=${onClose}>
    <h2 id=${titleId}>${action.title}</h2>
    ${
      result
        ? html`${result}
          <form method="dialog"><div class="actions"><button class="primary" autofocus>Close</button></div></form>`
        : html`<form onSubmit=${submit}>
          ${action.text && html`<div>${action.text}</div>`}
          ${(action.fields ?? []).map((field) => html`<${Entry} field=${field} value=${values[field.name]} onInput=${set} />`)}
          ${count !== undefined && html`<${Confirmation} count=${count} typed=${typed} onInput=${setTyped} />`}
          <${Problem} error=${error} />
          <div class="actions">
            <button type="button" disabled=${isBusy} onClick=${() => dialog.current?.close()}>Cancel</button>
            <button class=${count === undefined ? "primary" : "danger"} disabled=${!isConfirmed || isBusy}>
              ${isBusy ? "Working…" : action.button}
            </button>
          </div>
        </form>`
    }
  </dialog>`;
}

/** @param {{count: number, typed: string, onInput: (text: string) => void}} props */
const Confirmation = ({ count, typed, onInput }) => html`<label class="field">
  <span>Type <strong>${showNumber(count)}</strong> to confirm</span>
  <input type="text" inputmode="numeric" autocomplete="off" value=${typed} onInput=${(/** @type {any} */ event) => onInput(event.target.value)} />
</label>`;

/** @param {{field: Field, value: string, onInput: (name: string, value: string) => void}} props */
function Entry({ field, value, onInput }) {
  const change = (/** @type {any} */ event) => onInput(field.name, event.target.value);
  const shared = { value, onInput: change, required: field.isRequired, spellcheck: false, autocomplete: "off" };
  /** @type {any} */
  let input;
  if (field.options)
    input = html`<select value=${value} onChange=${change}>${field.options.map(([one, text]) => html`<option value=${one}>${text}</option>`)}</select>`;
  else if (field.type === "textarea") input = html`<textarea ...${shared}></textarea>`;
  else input = html`<input type=${field.type ?? "text"} ...${shared} />`;
  return html`<label class="field"><span>${field.label}</span>${input}${field.help && html`<span class="quiet">${field.help}</span>`}</label>`;
}
