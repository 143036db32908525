/**
 * Smartcard login to the NHS Spine, for new programs: begin with {@link ticketapi.TicketApi}.
 */
package ticketapi;
