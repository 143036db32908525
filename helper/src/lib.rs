//! Smartcards through PKCS#11 for ticketapi.
