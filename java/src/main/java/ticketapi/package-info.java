/**
 * Smartcard login to the NHS Spine, for new programs. Begin with {@link ticketapi.TicketApi}.
 */
package ticketapi;
