//! Handles: numbers that are not addresses, so that a forged one cannot cause a crash.

use std::ffi::c_long;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The maximum number of open handles.
const SLOTS: u32 = 1 << 16;

/// The number of the next handle, for the whole life of the process and its forked children, so that a child does
/// not mistake its parent's handles for its own.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// The open handles. Handle `n` is in slot `n % SLOTS`; numbers are reused after 2^31 handles.
pub(crate) struct Handles {
    slots: Box<[AtomicU32]>,
    live: AtomicUsize,
}

impl Handles {
    pub(crate) fn new() -> Self {
        // SAFETY: zero is a valid AtomicU32. Zeroed memory is not touched before it is used.
        let slots = unsafe { Box::<[AtomicU32]>::new_zeroed_slice(SLOTS as usize).assume_init() };
        Self { slots, live: AtomicUsize::new(0) }
    }

    /// Opens a new handle. Returns `None` if there are too many.
    pub(crate) fn open(&self) -> Option<c_long> {
        for _ in 0..SLOTS {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) & i32::MAX as u32;
            if number != 0 && self.slot(number).compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            {
                self.live.fetch_add(1, Ordering::SeqCst);
                return Some(c_long::from(number as i32));
            }
        }
        None
    }

    /// Closes `handle`. Returns `false` if it was not open.
    pub(crate) fn close(&self, handle: c_long) -> bool {
        let closed = number(handle).is_some_and(|number| {
            self.slot(number).compare_exchange(number, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        });
        if closed {
            self.live.fetch_sub(1, Ordering::SeqCst);
        }
        closed
    }

    pub(crate) fn is_live(&self, handle: c_long) -> bool {
        number(handle).is_some_and(|number| self.slot(number).load(Ordering::SeqCst) == number)
    }

    /// The number of open handles.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    fn slot(&self, number: u32) -> &AtomicU32 {
        &self.slots[(number % SLOTS) as usize]
    }
}

fn number(handle: c_long) -> Option<u32> {
    u32::try_from(handle).ok().filter(|&number| number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_valid_from_open_to_close() {
        let handles = Handles::new();
        let handle = handles.open().unwrap();
        assert!((1..=c_long::from(i32::MAX)).contains(&handle));
        assert!(handles.is_live(handle));
        assert_eq!(handles.live(), 1);
        assert!(handles.close(handle));
        assert!(!handles.is_live(handle));
        assert!(!handles.close(handle), "closed twice");
        assert_eq!(handles.live(), 0);
    }

    #[test]
    fn forged_handles_are_not_valid() {
        let handles = Handles::new();
        let handle = handles.open().unwrap();
        let slots = c_long::from(SLOTS as i32);
        for forged in [0, -1, 1 << 31, handle + slots, handle - slots, -handle, c_long::MIN, c_long::MAX] {
            assert!(!handles.is_live(forged), "{forged}");
            assert!(!handles.close(forged), "{forged}");
        }
    }

    #[test]
    fn a_full_table_accepts_a_handle_only_after_one_was_closed() {
        let handles = Handles::new();
        // Other threads advance NEXT meanwhile, so a slot may be tried twice; in the end all are taken.
        while handles.open().is_some() {}
        assert_eq!(handles.live(), SLOTS as usize);
        let one = c_long::from(handles.slots[7].load(Ordering::SeqCst) as i32);
        assert!(handles.close(one));
        assert!(handles.open().is_some());
    }
}
