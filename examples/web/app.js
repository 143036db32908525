"use strict";

const output = document.getElementById("output");
const api = navigator.ticketapi;

document.getElementById("login").addEventListener("click", async () => {
  output.textContent = "Logging in …";
  try {
    const ticket = await api.getTicket();
    // An application sends it to its server, over https, and shows it to nobody.
    output.textContent = `Logged in. Ticket: ${ticket.slice(0, 4)}… (${ticket.length} characters)`;
    await api.watch();
  } catch (error) {
    output.textContent = `${error.message}\n${error.remedy ?? ""}`;
  }
});

for (const event of ["sessionended", "sessionlocked"]) {
  api.addEventListener(event, () => { output.textContent = `Not logged in (${event})`; });
}
