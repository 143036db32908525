/** The Ticket API: smartcard login to the NHS Spine. */
module ticketapi {
    exports com.gemplus.gemauth.api;
    exports ticketapi;
}
