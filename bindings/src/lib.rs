//! `libticketapi`: the Ticket API for programs in C and Java, over the engine of the crate `ticketapi`.
//!
//! `include/TicketApi.h` is generated from [`c`], [`session`] and [`status`] and tells a C programmer
//! everything; [`java`] has the native methods of the classes in `java/`. Here each export parses its
//! parameters, calls the core once and converts the answer; what is unsafe about that is in
//! [`boundary`].

// The names are those that clients look up.
#![allow(non_snake_case)]

pub mod boundary;
pub mod c;
pub mod java;
pub mod prompter;
pub mod session;
pub mod status;

mod process;

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed: TLS keeps what it has read in buffers of its own. The host's own memory is not
/// touched.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);
