//! When a session gives its ticket out, when it is locked, and when it ends. Pure: what happened and
//! when goes in, what follows comes out.

use std::time::Duration;

use super::{EndReason, Limits, LockReason, Mode};

/// How long a session goes on while nobody can see where its card is.
pub(crate) const UNSEEN: Duration = Duration::from_secs(5);

/// What the settings say about sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) mode: Mode,
    /// How long a locked session waits for its user.
    pub(crate) lock_timeout: Duration,
    /// How long the user's last PIN is good for, in [`Mode::Mobility`].
    pub(crate) reauthentication: Duration,
}

/// What happens to a session. The time alone is an event as well: [`Life::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Somebody asks for the ticket.
    Asked,
    /// The card was taken out, or another one is there.
    CardOut,
    /// Nobody knows any more whether the card is there.
    CardUnseen,
    /// It is known again that the card is there.
    CardSeen,
    /// Nobody will ever know again whether the card is there.
    Unwatched,
    /// The card is there, and its PIN was right.
    Proved,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Change {
    Nothing,
    Locked(LockReason),
    Unlocked,
    /// The last one: a session that has ended is to be dropped.
    Ended(EndReason),
}

/// The life of one session. Times are those of [`Clock::now`](crate::clock::Clock::now).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    policy: Policy,
    limits: Limits,
    begun: Duration,
    used: Duration,
    proved: Duration,
    locked: Option<(LockReason, Duration)>,
    unseen: Option<Duration>,
    /// A clock that goes backward must not make anybody younger.
    latest: Duration,
}

impl Life {
    /// A session that has just begun.
    pub(crate) fn new(policy: Policy, limits: Limits, now: Duration) -> Self {
        Self { policy, limits, begun: now, used: now, proved: now, locked: None, unseen: None, latest: now }
    }

    /// What follows from the time alone. To be asked again until it answers nothing.
    pub(crate) fn at(&mut self, now: Duration) -> Change {
        self.latest = self.latest.max(now);
        let now = self.latest;
        let limits = [after(self.begun, self.limits.total), after(self.used, self.limits.idle)];
        if limits.into_iter().flatten().any(|end| end <= now) {
            return Change::Ended(EndReason::Expired);
        }
        match (self.lock_end(), self.unseen, self.reauthentication_due()) {
            (Some(end), ..) if end <= now => Change::Ended(EndReason::NotUnlocked),
            // It counts from when it was due: the computer may have slept since.
            (None, _, Some(due)) if due <= now => self.lock(LockReason::ReauthenticationDue, due),
            (None, Some(since), _) if since + UNSEEN <= now => self.without_card(EndReason::ReaderLost),
            _ => Change::Nothing,
        }
    }

    /// What follows from `happening`, for a session that [`Life::at`] leaves as it is.
    pub(crate) fn on(&mut self, happening: Happening, now: Duration) -> Change {
        self.latest = self.latest.max(now);
        let now = self.latest;
        match happening {
            Happening::Asked if self.locked.is_none() => self.used = now,
            Happening::CardOut => return self.without_card(EndReason::Removed),
            Happening::Unwatched => return self.without_card(EndReason::ReaderLost),
            Happening::CardUnseen if self.is_bound_to_card() => {
                self.unseen.get_or_insert(now);
            }
            Happening::CardSeen => self.unseen = None,
            Happening::Proved => {
                (self.used, self.proved) = (now, now);
                if self.locked.take().is_some() {
                    return Change::Unlocked;
                }
            }
            Happening::Asked | Happening::CardUnseen => {}
        }
        Change::Nothing
    }

    /// When the time next changes something, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Duration> {
        [
            after(self.begun, self.limits.total),
            after(self.used, self.limits.idle),
            self.lock_end(),
            self.reauthentication_due(),
            self.unseen.map(|since| since + UNSEEN),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Why no ticket is given out.
    pub(crate) fn locked(&self) -> Option<LockReason> {
        self.locked.map(|(why, _)| why)
    }

    /// When a locked session ends.
    pub(crate) fn lock_end(&self) -> Option<Duration> {
        self.locked.and_then(|(_, since)| after(since, Some(self.policy.lock_timeout)))
    }

    /// Whether it matters where the card is.
    pub(crate) fn is_bound_to_card(&self) -> bool {
        self.locked.is_none() && self.policy.mode != Mode::Mobility
    }

    /// Whether the card cannot be seen just now.
    pub(crate) fn is_unseen(&self) -> bool {
        self.unseen.is_some()
    }

    fn reauthentication_due(&self) -> Option<Duration> {
        let applies = self.locked.is_none() && self.policy.mode == Mode::Mobility;
        after(self.proved, Some(self.policy.reauthentication)).filter(|_| applies)
    }

    fn without_card(&mut self, reason: EndReason) -> Change {
        match self.policy.mode {
            _ if !self.is_bound_to_card() => Change::Nothing,
            Mode::SessionLock => self.lock(LockReason::CardRemoved, self.latest),
            _ => Change::Ended(reason),
        }
    }

    fn lock(&mut self, why: LockReason, since: Duration) -> Change {
        self.locked = Some((why, since));
        self.unseen = None;
        Change::Locked(why)
    }
}

/// A limit that is further away than time goes is none.
fn after(time: Duration, limit: Option<Duration>) -> Option<Duration> {
    time.checked_add(limit?)
}

#[cfg(test)]
mod tests;
