"use strict";

// Connects each page that asks to a native messaging host of its own. Which page it is, the browser says; whether it is
// allowed, the host decides.

const HOST = "org.ticketapi.web";
const CALLS = ["getTicket", "getNewTicket", "getTicketNoAuth", "status", "watch"];
// Calls of a page that have no answer yet.
const OUTSTANDING = 256;

// The page's origin, or null if no page there gets anything: frames, http, and origins that are not the address's.
function originOf({ id, frameId, origin, url, tab }) {
  if (id !== chrome.runtime.id || frameId !== 0 || !tab || typeof origin !== "string") {
    return null;
  }
  return origin.startsWith("https://") && URL.canParse(url) && new URL(url).origin === origin ? origin : null;
}

// Shows the user which site asks, the first time.
async function showFirstUse(origin) {
  const key = `used:${origin}`;
  if ((await chrome.storage.local.get(key))[key]) {
    return;
  }
  await chrome.storage.local.set({ [key]: true });
  const url = chrome.runtime.getURL("first-use.html") + "#" + encodeURIComponent(origin);
  await chrome.windows.create({ url, type: "popup", width: 480, height: 280 });
}

chrome.runtime.onConnect.addListener((page) => {
  const origin = originOf(page.sender);
  if (origin === null) {
    page.disconnect();
    return;
  }
  const host = chrome.runtime.connectNative(HOST);
  let outstanding = 0;
  host.onMessage.addListener((message) => {
    if (message.allowed) {
      showFirstUse(origin).catch(() => {});
    } else if ("id" in message) {
      outstanding -= 1;
    }
    page.postMessage(message);
  });
  host.onDisconnect.addListener(() => {
    // Reading it keeps browsers from reporting it: no host and a refused page are the same here.
    void chrome.runtime.lastError;
    page.disconnect();
  });
  page.onDisconnect.addListener(() => host.disconnect());
  page.onMessage.addListener((message) => {
    const { id, call } = message ?? {};
    if (!Number.isSafeInteger(id) || id < 0) {
      return;
    }
    const refuse = (kind, text) => page.postMessage({ id, error: { kind, message: text, remedy: "" } });
    if (!CALLS.includes(call)) {
      refuse("InvalidParameter", "there is no such call");
    } else if (outstanding >= OUTSTANDING) {
      refuse("Busy", "too many calls at once; wait for their answers");
    } else {
      outstanding += 1;
      // Nothing else of what the page sent reaches the host.
      host.postMessage({ id, call });
    }
  });
  host.postMessage({ origin });
});
