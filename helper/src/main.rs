//! The helper program of ticketapi.
fn main() {}
