/**
 * The gateway's plain HTTP: tokens and worlds. It knows no session.
 */

import { SessionError, TOKEN_PATH, WORLDS_PATH } from "./protocol.js";

/**
 * Ask for a short-lived token that opens one session.
 *
 * A product does this on its own server and never shows its API key to a browser.
 */
export async function fetchToken(baseUrl, apiKey = null, fetcher = fetch) {
  const headers = apiKey ? { Authorization: `Bearer ${apiKey}` } : {};
  const body = await ask(fetcher, new URL(TOKEN_PATH, baseUrl), { method: "POST", headers });
  return body.token;
}

/** Return the releases that are served, the one that most new sessions get first. */
export async function fetchWorlds(baseUrl, fetcher = fetch) {
  return ask(fetcher, new URL(WORLDS_PATH, baseUrl), {});
}

async function ask(fetcher, url, options) {
  let answer;
  try {
    answer = await fetcher(url, options);
  } catch (error) {
    throw new SessionError("disconnected", `${url} cannot be reached: ${error.message}`);
  }
  const body = await readJson(answer);
  if (answer.ok && body !== null) return body;
  const code = body?.code ?? (answer.status === 401 ? "bad_key" : "internal");
  throw new SessionError(code, body?.message ?? `${url} answered ${answer.status}.`);
}

/** A proxy in between answers in whatever form it likes; that is no JSON, and no fault of ours. */
async function readJson(answer) {
  try {
    return await answer.json();
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
