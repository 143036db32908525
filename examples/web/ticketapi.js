// Sets navigator.ticketapi. Load it before your own scripts.
(() => {
  "use strict";
  // As late without the extension as for a page that is not allowed.
  const WAIT = 5000;
  class TicketApi extends EventTarget {
    #calls = new Map();
    #next = 0;
    #link = null;
    #connect() {
      return (this.#link ??= new Promise((resolve, reject) => {
        const { port1: port, port2 } = new MessageChannel();
        const timer = setTimeout(() => {
          this.#link = null;
          port.close();
          reject(new DOMException("not allowed", "NotAllowedError"));
        }, WAIT);
        port.onmessage = ({ data }) => {
          if (data.allowed) {
            clearTimeout(timer);
            resolve(port);
          } else if (data.event) {
            this.dispatchEvent(new Event(data.event));
          } else if (data.closed) {
            this.#link = null;
            for (const id of [...this.#calls.keys()]) {
              this.#settle({ id, error: { kind: "Closed", message: "the connection has ended; try again" } });
            }
          } else {
            this.#settle(data);
          }
        };
        window.postMessage("ticketapi", "/", [port2]);
      }));
    }
    #settle({ id, value, error }) {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      error ? call?.reject(Object.assign(new Error(error.message), error)) : call?.resolve(value);
    }
    async #call(call, request) {
      const port = await this.#connect();
      return new Promise((resolve, reject) => {
        const id = this.#next++;
        this.#calls.set(id, { resolve, reject });
        port.postMessage({ id, call, request });
      });
    }
    static {
      // After watch() there are the events sessionended, sessionlocked.
      for (const name of ["getTicket", "getNewTicket", "getTicketNoAuth", "status", "watch", "sign"]) {
        this.prototype[name] = function (request) { return this.#call(name, request); };
      }
    }
  }
  navigator.ticketapi = new TicketApi();
})();
