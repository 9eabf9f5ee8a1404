// @ts-check
/** The login at Auth0: authorization code with PKCE (RFC 7636), by a redirect of the whole page. */

import {
  authorizationCodeGrantRequest,
  calculatePKCECodeChallenge,
  generateRandomCodeVerifier,
  generateRandomState,
  None,
  processAuthorizationCodeResponse,
  validateAuthResponse,
} from "../vendor/oauth4webapi/oauth4webapi.js";
import { configuration } from "./configuration.js";

const SCOPES = "read:sync write:sync admin:sync";
const WAITING = "console-login"; // in sessionStorage, between the redirect and the return

/** What waits for the return. @typedef {{state: string, verifier: string, page: string}} Waiting */

const issuer = `https://${configuration.auth0_domain}/`;
const server = { issuer, authorization_endpoint: `${issuer}authorize`, token_endpoint: `${issuer}oauth/token` };
const client = { client_id: configuration.auth0_client_id };

/** Leave for Auth0. The page to return to is the present one. */
export async function leaveForLogin() {
  const waiting = { state: generateRandomState(), verifier: generateRandomCodeVerifier(), page: location.hash };
  const query = new URLSearchParams({
    response_type: "code",
    client_id: client.client_id,
    redirect_uri: returnAddress(),
    audience: configuration.audience,
    scope: SCOPES,
    state: waiting.state,
    code_challenge: await calculatePKCECodeChallenge(waiting.verifier),
    code_challenge_method: "S256",
  });
  try {
    sessionStorage.setItem(WAITING, JSON.stringify(waiting));
  } catch (error) {
    throw new Error("the browser keeps nothing for this page. Allow it to store site data here.", { cause: error });
  }
  location.assign(`${server.authorization_endpoint}?${query}`);
}

/**
 * The token, when this is the return from Auth0; null when it is not. First removes what waited, and cleans the address.
 *
 * @returns {Promise<string | null>}
 * @throws {Error} with a sentence when the login failed
 */
export async function completeLogin() {
  const parameters = new URLSearchParams(location.search);
  const waiting = takeWaiting();
  if (location.search) history.replaceState(null, "", location.pathname + (waiting?.page ?? location.hash));
  if (!parameters.has("code") && !parameters.has("error")) return null;
  if (waiting === null) throw new Error("This login was begun elsewhere or was completed already. Log in again.");
  try {
    const valid = validateAuthResponse(server, client, parameters, waiting.state);
    const response = await authorizationCodeGrantRequest(
      server,
      client,
      None(),
      valid,
      returnAddress(),
      waiting.verifier,
    );
    return (await processAuthorizationCodeResponse(server, client, response)).access_token;
  } catch (error) {
    throw new Error(`The login failed: ${describe(error)}`, { cause: error });
  }
}

/** @returns {Waiting | null} */
function takeWaiting() {
  try {
    const text = sessionStorage.getItem(WAITING);
    sessionStorage.removeItem(WAITING);
    return text === null ? null : JSON.parse(text);
  } catch {
    return null; // the browser keeps nothing for this page
  }
}

const returnAddress = () => location.origin + location.pathname;

/** @param {any} error */
function describe(error) {
  if (typeof error?.error === "string") return [error.error, error.error_description].filter(Boolean).join(": ");
  if (error instanceof TypeError)
    return "Auth0 cannot be reached, or does not allow this address (Allowed Web Origins).";
  return String(error?.message ?? error);
}
