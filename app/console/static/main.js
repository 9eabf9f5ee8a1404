// @ts-check
/** The console: the login, and behind it the page that the fragment names. */

import { html, render, useEffect, useState } from "./lib/html.js";
import { completeLogin } from "./lib/auth0.js";
import { configuration } from "./lib/configuration.js";
import { useRoute } from "./lib/route.js";
import { ADMIN, READ, currentSession, logIn, mayOpen, watchSession } from "./lib/session.js";
import { Alert } from "./pages/alert.js";
import { Consistency } from "./pages/consistency.js";
import { Delivery } from "./pages/delivery.js";
import { EventPage } from "./pages/event.js";
import { FilePage } from "./pages/file.js";
import { Ledger } from "./pages/ledger.js";
import { Overview } from "./pages/overview.js";
import { Proof } from "./pages/proof.js";
import { SetAside } from "./pages/set_aside.js";
import { Subscription } from "./pages/subscription.js";
import { Subscriptions } from "./pages/subscriptions.js";
import { Empty, Guard, MissingScope } from "./parts/feedback.js";
import { Login } from "./parts/login.js";
import { Shell } from "./parts/shell.js";
import { keepTimes } from "./parts/time.js";

// Earlier releases of the API documentation, of the same origin, kept a token here.
const LEFT_TOKEN = "authorized";

/** The pages: title, the scope without which no request is sent, and what draws it. @type {Record<string, [string, string, any]>} */
const PAGES = {
  overview: ["Overview", READ, Overview],
  ledger: ["Ledger", READ, Ledger],
  event: ["Event", READ, EventPage],
  file: ["File", READ, FilePage],
  "set-aside": ["Set aside", READ, SetAside],
  subscriptions: ["Subscriptions", ADMIN, Subscriptions],
  subscription: ["Subscription", ADMIN, Subscription],
  delivery: ["Delivery", ADMIN, Delivery],
  consistency: ["Consistency", READ, Consistency],
  proof: ["Proof", "", Proof],
  alert: ["Alert", "", Alert],
};

/** @param {{failure: string}} props */
function Console({ failure }) {
  const [session, setSession] = useState(currentSession);
  const route = useRoute();
  useEffect(() => watchSession(() => setSession(currentSession())), []);
  if (!session) return html`<${Login} failure=${failure} />`;
  const [title, scope, Page] = PAGES[route.page] ?? ["No such page", "", NoPage];
  const content =
    scope && !mayOpen(scope)
      ? html`<h1>${title}</h1><${MissingScope} scope=${scope} />`
      : html`<${Guard} key=${`${route.page}/${route.id}`}><${Page} route=${route} /><//>`;
  return html`<${Shell} route=${route} title=${title}>${content}<//>`;
}

function NoPage() {
  return html`<h1>No such page</h1><${Empty} title="The console has no page at this address.">Choose one in the navigation.<//>`;
}

async function start() {
  try {
    localStorage.removeItem(LEFT_TOKEN);
  } catch {
    // The browser keeps nothing for this page.
  }
  let failure = "";
  if (configuration.auth0_domain) {
    try {
      const token = await completeLogin();
      if (token !== null) logIn(token);
    } catch (error) {
      failure = /** @type {Error} */ (error).message;
    }
  }
  const root = /** @type {HTMLElement} */ (document.getElementById("console"));
  root.replaceChildren();
  render(html`<${Console} failure=${failure} />`, root);
  keepTimes();
}

void start();
