// @ts-check
/** What the service says about itself in the page: how to log in, and whether reading needs a scope. */

/**
 * @typedef {object} Configuration
 * @property {string} title
 * @property {string} auth0_domain  empty in local mode
 * @property {string} auth0_client_id
 * @property {string} audience
 * @property {boolean} enforce_scopes
 */

/** @type {Configuration} */
export const configuration = JSON.parse(
  document.querySelector('meta[name="console"]')?.getAttribute("content") ?? "null",
);
