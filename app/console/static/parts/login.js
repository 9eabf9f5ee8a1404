// @ts-check
/** The login: a field for a token in local mode, a way to Auth0 otherwise. Nothing else is shown before it. */

import { html, useEffect, useRef, useState } from "../lib/html.js";
import { leaveForLogin } from "../lib/auth0.js";
import { configuration } from "../lib/configuration.js";
import { visible } from "../lib/format.js";
import { logIn, sessionNotice } from "../lib/session.js";

/** @param {{failure: string}} props  why the return from Auth0 failed */
export function Login({ failure }) {
  const notice = failure || sessionNotice();
  return html`<main class="login">
    <h1><img src="console/assets/icon.svg" alt="" width="28" height="28" /> ${visible(configuration.title)}</h1>
    ${notice && html`<p class="notice" role="alert">${visible(notice)}</p>`}
    ${configuration.auth0_domain ? html`<${Auth0Login} />` : html`<${TokenLogin} />`}
  </main>`;
}

function TokenLogin() {
  const [error, setError] = useState("");
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => field.current?.focus(), []);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      logIn(field.current?.value ?? "");
    } catch (failed) {
      setError(/** @type {Error} */ (failed).message);
    }
  };
  return html`<form onSubmit=${submit}>
    <label for="token">Token</label>
    <input
      id="token"
      type="text"
      autocomplete="off"
      autocapitalize="off"
      spellcheck=${false}
      ref=${field}
      aria-describedby="token-help"
      aria-invalid=${error ? "true" : undefined}
      required
    />
    <p id="token-help" class="quiet">
      <code>python -m app token</code> prints one. It stays in the memory of this page: after a reload you paste it again.
    </p>
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
    <button class="primary" type="submit">Log in</button>
  </form>`;
}

function Auth0Login() {
  const [error, setError] = useState("");
  if (!configuration.auth0_client_id)
    return html`<p>
      Nobody can log in here yet: set <code>AUTH0_CONSOLE_CLIENT_ID</code> to the id of a single-page application at Auth0
      whose callback is the address of this page.
    </p>`;
  if (!isSecureContext)
    return html`<p>The login at Auth0 needs HTTPS, or localhost: open this page at an address that begins with https.</p>`;
  const leave = () => leaveForLogin().catch((failed) => setError(`The login cannot begin: ${failed.message}`));
  return html`
    <p>You log in at ${visible(configuration.auth0_domain)} and come back to this page.</p>
    ${error && html`<p class="field-error" role="alert">${visible(error)}</p>`}
    <button class="primary" autofocus onClick=${leave}>Log in with Auth0</button>
  `;
}
