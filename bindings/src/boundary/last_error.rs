//! The last error of each thread on each handle.
//!
//! The thread-local memory has no destructor, because destructors of an unloaded library crash its host.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::c_long;

use super::forks;
use crate::status::Failure;

/// How many handles with a failed last call are kept for each thread.
const KEPT: usize = 64;
/// The maximum length of an error's text, so that the description, with what the user can do, fits into 1,024 bytes,
/// which clients offer if 254 are too few.
pub(crate) const DETAIL: usize = 800;

struct LastErrors {
    /// Which process, of those forked from each other, the other fields belong to.
    forks: Cell<u32>,
    used: Cell<usize>,
    oldest: Cell<usize>,
    entries: [Cell<(c_long, u32)>; KEPT],
    detail_of: Cell<(c_long, u32)>,
    detail_len: Cell<usize>,
    detail: Cell<[u8; DETAIL]>,
    remedy: Cell<&'static str>,
}

thread_local! {
    static LAST: LastErrors = const {
        LastErrors {
            forks: Cell::new(0),
            used: Cell::new(0),
            oldest: Cell::new(0),
            entries: [const { Cell::new((0, 0)) }; KEPT],
            detail_of: Cell::new((0, 0)),
            detail_len: Cell::new(0),
            detail: Cell::new([0; DETAIL]),
            remedy: Cell::new(""),
        }
    };
}

/// Records the result of the thread's last call on `handle`.
pub(super) fn record(handle: c_long, failure: Option<&Failure>) {
    LAST.with(|last| match failure {
        None if last.used.get() == 0 && last.detail_len.get() == 0 => {}
        None => {
            last.forget(handle);
            if last.detail_of.get().0 == handle {
                last.detail_len.set(0);
            }
        }
        Some(failure) => last.remember(handle, failure),
    });
}

/// The code of the thread's last call on `handle`, if it failed.
pub(crate) fn last_error(handle: c_long) -> Option<u32> {
    LAST.with(|last| last.position(handle).map(|index| last.entries[index].get().1))
}

/// The text of `code`, if it is the thread's last error on `handle`, and what the user can do, if that is known.
pub(crate) fn detail(handle: c_long, code: u32) -> Option<(String, &'static str)> {
    LAST.with(|last| {
        let length = last.detail_len.get();
        let found = length > 0 && last.detail_of.get() == (handle, code) && last.forks.get() == forks();
        found.then(|| (String::from_utf8_lossy(&last.detail.get()[..length]).into_owned(), last.remedy.get()))
    })
}

impl LastErrors {
    fn position(&self, handle: c_long) -> Option<usize> {
        if self.forks.get() != forks() {
            return None;
        }
        self.entries[..self.used.get()].iter().position(|entry| entry.get().0 == handle)
    }

    fn forget(&self, handle: c_long) {
        if let Some(index) = self.position(handle) {
            let end = self.used.get() - 1;
            self.entries[index].set(self.entries[end].get());
            self.used.set(end);
        }
    }

    fn remember(&self, handle: c_long, failure: &Failure) {
        if self.forks.replace(forks()) != forks() {
            self.used.set(0);
            self.detail_len.set(0);
        }
        let index = self.position(handle).unwrap_or_else(|| {
            let used = self.used.get();
            if used < KEPT {
                self.used.set(used + 1);
                return used;
            }
            self.oldest.replace((self.oldest.get() + 1) % KEPT)
        });
        self.entries[index].set((handle, failure.code));
        let Some(detail) = &failure.detail else { return };
        let text = shortened(detail, DETAIL);
        let mut kept = [0; DETAIL];
        kept[..text.len()].copy_from_slice(text.as_bytes());
        self.detail.set(kept);
        self.detail_len.set(text.len());
        self.detail_of.set((handle, failure.code));
        self.remedy.set(failure.cause.as_ref().map_or("", |error| error.remedy()));
    }
}

/// Returns at most `limit` bytes of `text`: its beginning says where it happened, and its end why, so a part in the
/// middle is left out.
pub(crate) fn shortened(text: &str, limit: usize) -> Cow<'_, str> {
    const GAP: &str = " ... ";
    if text.len() <= limit {
        return text.into();
    }
    let kept = limit.saturating_sub(GAP.len());
    let (begin, _) = text.split_at(text.floor_char_boundary(kept / 2));
    let (_, end) = text.split_at(text.ceil_char_boundary(text.len() - kept.div_ceil(2)));
    format!("{begin}{GAP}{end}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(handle: c_long, code: u32, detail: Option<&str>) {
        record(handle, Some(&Failure { code, detail: detail.map(str::to_owned), cause: None }));
    }

    #[test]
    fn each_handle_has_its_own_error_until_a_success() {
        fail(1, 10, None);
        fail(2, 20, None);
        assert_eq!((last_error(1), last_error(2), last_error(3)), (Some(10), Some(20), None));
        record(1, None);
        assert_eq!((last_error(1), last_error(2)), (None, Some(20)));
    }

    #[test]
    fn each_thread_has_its_own_error() {
        fail(1, 10, None);
        assert_eq!(std::thread::spawn(|| last_error(1)).join().unwrap(), None);
    }

    #[test]
    fn the_oldest_error_is_dropped_if_there_are_too_many() {
        for handle in 1..=KEPT as c_long + 1 {
            fail(handle, 10, None);
        }
        assert_eq!(last_error(1), None);
        assert_eq!(last_error(2), Some(10));
        assert_eq!(last_error(KEPT as c_long + 1), Some(10));
    }

    #[test]
    fn a_text_belongs_to_its_own_error() {
        let long = "é".repeat(DETAIL);
        fail(1, 10, Some(&long));
        assert_eq!(detail(1, 10).unwrap(), (shortened(&long, DETAIL).into_owned(), ""));
        assert_eq!(detail(1, 11), None);
        assert_eq!(detail(2, 10), None);
        record(2, None);
        assert!(detail(1, 10).is_some());
        record(1, None);
        assert_eq!(detail(1, 10), None);
    }

    #[test]
    fn a_text_is_shortened_between_characters_and_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("0123456789", 10), "0123456789");
        assert_eq!(shortened("0123456789abc", 12), "012 ... 9abc");
        assert_eq!(shortened("ééééééé", 12), "é ... éé");
        assert_eq!(shortened("ééééééé", 13), "éé ... éé");
    }
}
