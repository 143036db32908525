"use strict";

// Passes messages between the page and the background, which it wakes only when the page asks. It is silent until the
// host allows the page, so a page that is not allowed sees the same as one without the extension.

let connected = false;

window.addEventListener("message", (event) => {
  const isAsking = event.source === window && event.data === "ticketapi" && event.ports.length === 1;
  if (!isAsking || connected || self.origin !== location.origin || !window.isSecureContext) {
    return;
  }
  connected = true;
  const page = event.ports[0];
  const background = chrome.runtime.connect();
  let allowed = false;
  background.onMessage.addListener((message) => {
    allowed ||= message.allowed === true;
    if (allowed) {
      page.postMessage(message);
    }
  });
  background.onDisconnect.addListener(() => {
    void chrome.runtime.lastError;
    // A page that was refused is not looked at again, and does not learn that it was looked at.
    if (allowed) {
      page.postMessage({ closed: true });
      connected = false;
    }
  });
  page.onmessage = ({ data }) => {
    if (allowed) {
      background.postMessage({ id: data?.id, call: data?.call, request: data?.request });
    }
  };
});
