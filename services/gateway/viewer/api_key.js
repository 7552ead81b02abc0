/**
 * A token for one session, and the question for an API key where a server wants one.
 *
 * The key is kept in sessionStorage: it is gone with the tab. It knows the dialog, and no session.
 */

import { fetchToken } from "./gateway.js";

const KEY_ITEM = "worldloom api key";

const byId = (id) => document.getElementById(id);

/** Return a token; asks for a key until it is right or the person gives up. */
export async function getToken() {
  for (;;) {
    const key = sessionStorage.getItem(KEY_ITEM);
    try {
      return await fetchToken(location.href, key);
    } catch (error) {
      if (error.code !== "bad_key") throw error;
      if (!(await askForKey(key !== null))) throw error;
    }
  }
}

async function askForKey(wasRefused) {
  const dialog = byId("ask-key");
  byId("ask-key-words").textContent = wasRefused
    ? "That key was not right. Another one?"
    : "It is kept until this tab is closed.";
  byId("api-key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  const key = byId("api-key").value.trim();
  if (dialog.returnValue !== "go" || !key) return false;
  sessionStorage.setItem(KEY_ITEM, key);
  return true;
}
