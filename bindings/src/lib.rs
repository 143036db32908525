//! `libticketapi`: the Ticket API for programs in C and Java, over the engine of the crate `ticketapi`.
//!
//! `include/TicketApi.h` is generated from [`c`], [`session`] and [`status`] and documents everything for C
//! programmers; [`java`] has the native methods of the classes in `java/`. Each export parses its parameters,
//! calls the core once and converts the result; the unsafe parts of this are in [`boundary`].

// Clients look up these names.
#![allow(non_snake_case)]

pub mod boundary;
pub mod browser;
pub mod c;
pub mod java;
pub mod nuts;
pub mod prompter;
pub mod session;
pub mod sign;
pub mod status;

mod process;

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is freed, because TLS keeps received data in its own buffers. The host's own memory is not
/// affected.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);
