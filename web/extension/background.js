"use strict";

// Connects each page that asks to a native messaging host of its own. Which page it is, the browser says; whether it is
// allowed, the host decides.

const HOST = "org.ticketapi.web";
const CALLS = ["getTicket", "getNewTicket", "getTicketNoAuth", "status", "watch", "sign"];
// Calls of a page that have no answer yet.
const OUTSTANDING = 256;
// The longest message to the host, in bytes.
const LONGEST = 64 << 10;

// The page's origin, or null if no page there gets anything: frames, http, and origins that are not the address's.
function originOf({ id, frameId, origin, url, tab }) {
  if (id !== chrome.runtime.id || frameId !== 0 || !tab || typeof origin !== "string") {
    return null;
  }
  return origin.startsWith("https://") && URL.canParse(url) && new URL(url).origin === origin ? origin : null;
}

// What a page asks to be signed, and nothing else of what it sent; undefined if it is no such request.
function requestOf({ title, algorithm, payloads } = {}) {
  const isText = (text) => typeof text === "string";
  const isPayload = (one) => isText(one?.id) && isText(one.payload);
  if (![title, algorithm].every((text) => text === undefined || isText(text)) || !Array.isArray(payloads) || !payloads.every(isPayload)) {
    return undefined;
  }
  return { title, algorithm, payloads: payloads.map(({ id, payload }) => ({ id, payload })) };
}

// How many bytes a message has at most: browsers may escape what JSON.stringify does not.
function sizeOf(message) {
  return JSON.stringify(message).replace(/[^ -;=-~]/g, "\\u0000").length;
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
    // Nothing else of what the page sent reaches the host.
    const known = call === "sign" ? { id, call, request: requestOf(message.request ?? undefined) } : { id, call };
    if (!CALLS.includes(call)) {
      refuse("InvalidParameter", "there is no such call");
    } else if (outstanding >= OUTSTANDING) {
      refuse("Busy", "too many calls at once; wait for their answers");
    } else if (call === "sign" && known.request === undefined) {
      refuse("InvalidParameter", "this is not a request for signatures");
    } else if (sizeOf(known) > LONGEST) {
      refuse("InvalidParameter", "the request has more than 64 KiB; have the documents signed in several calls");
    } else {
      outstanding += 1;
      host.postMessage(known);
    }
  });
  host.postMessage({ origin });
});
