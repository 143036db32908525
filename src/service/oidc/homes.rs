//! The sessions at the provider that our sessions live in. A browser that the provider knows leads each login to the
//! same one, and not every provider says which.

use std::sync::{Arc, PoisonError, Weak};

use super::token::Ending;
use crate::os::fork::ForkGuard;
use crate::sync::Mutex;

/// How many sessions wait to be ended at most. They end by themselves too.
const MOST_POSTPONED: usize = 32;

/// A session at the provider, by its id, and its user. Without an id it may be any of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    id: Option<String>,
    subject: String,
}

/// Whether ending a session at the provider ends another one of our sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EndsAnother {
    No,
    Maybe,
    Yes,
}

/// The homes of the sessions of one service.
#[derive(Debug, Default)]
pub(super) struct Homes {
    lived_in: Mutex<Vec<Weak<Home>>>,
    /// What ends sessions that may be another's home, once that one is over.
    postponed: Mutex<Vec<(Ending, ForkGuard)>>,
}

impl Home {
    /// Returns `true` if both are surely one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id.is_some() && self.id == other.id
    }
}

impl Homes {
    /// Notes that one of our sessions lives in the provider's session `id`, until the last clone of what this returns
    /// is dropped.
    pub(super) fn live_in(&self, id: Option<&str>, subject: &str) -> Arc<Home> {
        let home = Arc::new(Home { id: id.map(str::to_owned), subject: subject.to_owned() });
        let mut homes = self.lived_in.lock().unwrap_or_else(PoisonError::into_inner);
        homes.retain(|other| other.strong_count() > 0);
        homes.push(Arc::downgrade(&home));
        home
    }

    /// Whether ending the provider's session of `ending` ends another one of our sessions than the one in `own`.
    pub(super) fn ends_another(&self, ending: &Ending, own: Option<&Arc<Home>>) -> EndsAnother {
        let id = ending.home.as_ref().map_or(ending.session.as_ref(), |home| home.id.as_ref());
        let ends = |other: Arc<Home>| match (id, &other.id) {
            _ if own.is_some_and(|own| Arc::ptr_eq(own, &other)) => EndsAnother::No,
            (Some(id), Some(other)) if id == other => EndsAnother::Yes,
            (Some(_), Some(_)) => EndsAnother::No,
            // A session at the provider is one user's.
            _ if ending.home.as_ref().is_some_and(|home| home.subject != other.subject) => EndsAnother::No,
            _ => EndsAnother::Maybe,
        };
        let homes = self.lived_in.lock().unwrap_or_else(PoisonError::into_inner);
        homes.iter().filter_map(Weak::upgrade).map(ends).max().unwrap_or(EndsAnother::No)
    }

    /// Keeps what ends a session until [`Homes::take_postponed`].
    pub(super) fn postpone(&self, ending: &Ending) {
        if ending.id_token.is_none() && ending.refresh.is_none() {
            return;
        }
        // Nobody lives there any more.
        let home = ending.home.as_ref().map(|home| Arc::new(Home::clone(home)));
        let ending = Ending { access: None, home, ..ending.clone() };
        let mut postponed = self.postponed.lock().unwrap_or_else(PoisonError::into_inner);
        if postponed.iter().any(|(other, _)| *other == ending) {
            return;
        }
        if postponed.len() == MOST_POSTPONED {
            postponed.remove(0);
        }
        postponed.push((ending, ForkGuard::this_process()));
    }

    /// Returns what can be ended now that the session in `over` is.
    pub(super) fn take_postponed(&self, over: Option<&Arc<Home>>) -> Vec<Ending> {
        let mut postponed = self.postponed.lock().unwrap_or_else(PoisonError::into_inner);
        // The parent's are for the parent to end.
        postponed.retain(|(_, owner)| owner.is_this_process());
        let due = postponed.extract_if(.., |(ending, _)| self.ends_another(ending, over) == EndsAnother::No);
        due.map(|(ending, _)| ending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::*;

    fn ending(home: &Arc<Home>, refresh: &str) -> Ending {
        Ending { refresh: Some(Secret::new(refresh.into())), home: Some(Arc::clone(home)), ..Ending::default() }
    }

    #[test]
    fn a_session_ends_another_one_of_the_same_user_if_both_have_the_same_id_or_one_has_none() {
        use EndsAnother::{Maybe, No, Yes};
        for (first, second, expected) in [
            ((Some("1"), "anna"), (Some("1"), "anna"), Yes),
            ((Some("1"), "anna"), (Some("2"), "anna"), No),
            ((Some("1"), "anna"), (None, "anna"), Maybe),
            ((None, "anna"), (None, "anna"), Maybe),
            ((None, "anna"), (None, "bent"), No),
        ] {
            let homes = Homes::default();
            let [own, other] = [first, second].map(|(id, subject)| homes.live_in(id, subject));
            assert_eq!(homes.ends_another(&ending(&own, "a"), Some(&own)), expected, "{first:?} {second:?}");
            assert_eq!(homes.ends_another(&ending(&other, "a"), Some(&other)), expected, "{first:?} {second:?}");
            drop(other);
            assert_eq!(homes.ends_another(&ending(&own, "a"), Some(&own)), No);
        }
    }

    #[test]
    fn what_is_postponed_is_taken_once_when_nobody_else_may_live_there() {
        let homes = Homes::default();
        let [before, now, later] = [(); 3].map(|()| homes.live_in(None, "anna"));
        for _ in 0..2 {
            homes.postpone(&ending(&before, "a"));
        }
        drop(before);
        assert_eq!(homes.take_postponed(Some(&now)), []);
        drop(now);
        let taken = homes.take_postponed(Some(&later));
        assert_eq!(taken.iter().map(|ending| ending.refresh.as_ref().unwrap().expose()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(homes.take_postponed(None), []);

        for number in 0..100 {
            homes.postpone(&ending(&later, &number.to_string()));
        }
        drop(later);
        assert_eq!(homes.take_postponed(None).len(), MOST_POSTPONED);
    }
}
