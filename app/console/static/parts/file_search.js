// @ts-check
/** A field for the id of a file. What is typed stays until it is submitted, whatever is redrawn meanwhile. */

import { html, useLayoutEffect, useRef, useState } from "../lib/html.js";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** @param {{value: string, onFile: (id: string) => void}} props */
export function FileSearch({ value, onFile }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [error, setError] = useState("");
  useLayoutEffect(() => {
    if (field.current) field.current.value = value;
  }, [value]);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = field.current?.value.trim().toLowerCase() ?? "";
    const isKnown = text === "" || UUID.test(text);
    setError(isKnown ? "" : "An id has 36 characters: 8-4-4-4-12.");
    if (isKnown) onFile(text);
  };
  return html`<form class="grow" role="search" onSubmit=${submit}>
    <label>File id
      <input
        type="search"
        ref=${field}
        placeholder="Press / and paste the id of a file"
        spellcheck=${false}
        autocomplete="off"
        aria-invalid=${error ? "true" : undefined}
      />
    </label>
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
  </form>`;
}
