//! When a session gives out its ticket, when it locks, and when it ends. Pure: events and times go in,
//! changes come out.

use std::time::Duration;

use super::grant::Expiry;
use super::{EndReason, Limits, LockReason, Mode};

/// How long a session continues while its card's place is unknown.
pub(crate) const UNSEEN: Duration = Duration::from_secs(5);

/// No ticket is given out this long before it expires: the program still has to use it.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// The latest renewal before a ticket expires, if its life is long enough.
const RENEWAL: Duration = Duration::from_secs(60);

/// The pauses after a renewal that failed.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// The settings for sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) mode: Mode,
    /// How long a locked session waits to be unlocked.
    pub(crate) lock_timeout: Duration,
    /// How long the last PIN is valid in [`Mode::Mobility`].
    pub(crate) reauthentication: Duration,
}

/// Events of a session. The passing of time is one too: [`Life::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A program requests the ticket.
    Used,
    /// The card was removed or swapped.
    CardOut,
    /// The PC/SC service is down: the card may or may not be there.
    CardUnseen,
    /// The card is known to be present again.
    CardSeen,
    /// The card can no longer be watched.
    Unwatched,
    /// The card is there and its PIN was right.
    Proved,
}

/// The change that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Change {
    Nothing,
    Locked(LockReason),
    Unlocked,
    /// The last change: drop the session.
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
    ticket: Option<TicketLife>,
    /// Guards against a clock that steps back.
    latest: Duration,
}

/// The life of a ticket that expires before its session does.
#[derive(Clone, Copy, Debug)]
struct TicketLife {
    expires: Duration,
    renewable: bool,
    /// When its service stops renewing it.
    renewable_until: Option<Duration>,
    /// When to renew it next; `None` leaves that to the next program that requests the ticket.
    renewal: Option<Duration>,
}

impl TicketLife {
    fn new(expiry: Expiry, now: Duration) -> Option<Self> {
        let expires = now.checked_add(expiry.after)?;
        // A ticket too short-lived to be given out would be renewed without end.
        let window = expiry.renewable.map(|time| time.min(expiry.after)).filter(|_| expiry.after > MARGIN);
        let renewal = window.map(|window| now + (window / 2).max(window.saturating_sub(RENEWAL)));
        let renewable_until = expiry.renewable.and_then(|time| now.checked_add(time));
        Some(Self { expires, renewable: expiry.renewable.is_some(), renewable_until, renewal })
    }

    /// Returns when it is given out no longer.
    fn end(&self) -> Duration {
        self.expires.saturating_sub(MARGIN)
    }

    /// Returns when neither it nor one in its place can be given out.
    fn last(&self) -> Option<Duration> {
        if self.renewable { self.renewable_until.map(|until| until.max(self.end())) } else { Some(self.end()) }
    }
}

impl Life {
    /// Starts the life of a new session.
    pub(crate) fn new(policy: Policy, limits: Limits, expiry: Option<Expiry>, now: Duration) -> Self {
        let ticket = expiry.and_then(|expiry| TicketLife::new(expiry, now));
        Self { policy, limits, begun: now, used: now, proved: now, locked: None, unseen: None, ticket, latest: now }
    }

    /// Replaces the ticket.
    pub(crate) fn renewed(&mut self, expiry: Option<Expiry>, now: Duration) {
        self.latest = self.latest.max(now);
        self.ticket = expiry.and_then(|expiry| TicketLife::new(expiry, self.latest));
    }

    /// Stops asking for a renewal: one has begun.
    pub(crate) fn renewal_began(&mut self) {
        self.ticket.iter_mut().for_each(|ticket| ticket.renewal = None);
    }

    /// Asks for another renewal after a pause, until the ticket has expired.
    pub(crate) fn renewal_failed(&mut self, now: Duration) {
        self.latest = self.latest.max(now);
        if let Some(ticket) = &mut self.ticket {
            let pause = (ticket.expires.saturating_sub(self.latest) / 4).clamp(PAUSES[0], PAUSES[1]);
            ticket.renewal = self.latest.checked_add(pause).filter(|again| *again < ticket.expires);
        }
    }

    /// The session ends with its ticket: the service does not renew it.
    pub(crate) fn is_not_renewable(&mut self) {
        self.ticket.iter_mut().for_each(|ticket| ticket.renewable = false);
    }

    /// Returns when to renew the ticket. A locked session waits for its user.
    pub(crate) fn renewal(&self) -> Option<Duration> {
        self.ticket.filter(|_| self.locked.is_none()).and_then(|ticket| ticket.renewal)
    }

    /// Returns `true` if the ticket may be given out, as of the last [`Life::at`].
    pub(crate) fn gives_ticket(&self) -> bool {
        self.locked.is_none() && self.ticket.is_none_or(|ticket| self.latest < ticket.end())
    }

    /// Returns the change due at `now`. Call it again until it returns nothing.
    pub(crate) fn at(&mut self, now: Duration) -> Change {
        self.latest = self.latest.max(now);
        let now = self.latest;
        let limits = [
            (after(self.begun, self.limits.total), EndReason::Expired),
            (after(self.used, self.limits.idle), EndReason::Idle),
            (self.tickets_end(), EndReason::TicketExpired),
        ];
        // After a suspend both may be over: the first to come has ended it.
        let ended = limits.into_iter().filter_map(|(end, reason)| Some((end.filter(|end| *end <= now)?, reason)));
        if let Some((_, reason)) = ended.min_by_key(|(end, _)| *end) {
            return Change::Ended(reason);
        }
        match (self.lock_end(), self.unseen, self.reauthentication_due()) {
            (Some(end), ..) if end <= now => Change::Ended(EndReason::NotUnlocked),
            // The limit counts from when it was due: the computer may have been suspended since.
            (None, _, Some(due)) if due <= now => self.lock(LockReason::ReauthenticationDue, due),
            (None, Some(since), _) if since + UNSEEN <= now => self.without_card(EndReason::ReaderLost),
            _ => Change::Nothing,
        }
    }

    /// Returns the change that `happening` causes, once [`Life::at`] has returned nothing.
    pub(crate) fn on(&mut self, happening: Happening, now: Duration) -> Change {
        self.latest = self.latest.max(now);
        let now = self.latest;
        match happening {
            Happening::Used if self.locked.is_none() => self.used = now,
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
            Happening::Used | Happening::CardUnseen => {}
        }
        Change::Nothing
    }

    /// Returns when time alone causes the next change.
    pub(crate) fn due(&self) -> Option<Duration> {
        [
            after(self.begun, self.limits.total),
            after(self.used, self.limits.idle),
            self.tickets_end(),
            self.lock_end(),
            self.reauthentication_due(),
            self.unseen.map(|since| since + UNSEEN),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns until when the ticket may be given out if nothing but time happens.
    pub(crate) fn gives_ticket_until(&self) -> Option<Duration> {
        [self.due(), self.ticket.map(|ticket| ticket.end())].into_iter().flatten().min()
    }

    /// Returns when there will be no ticket any more. The user of a locked session may bring another.
    fn tickets_end(&self) -> Option<Duration> {
        self.ticket.filter(|ticket| self.locked.is_none() || !ticket.renewable).and_then(|ticket| ticket.last())
    }

    /// Returns why the session is locked.
    pub(crate) fn locked(&self) -> Option<LockReason> {
        self.locked.map(|(why, _)| why)
    }

    /// Returns when a locked session ends.
    pub(crate) fn lock_end(&self) -> Option<Duration> {
        self.locked.and_then(|(_, since)| after(since, Some(self.policy.lock_timeout)))
    }

    /// Returns `true` if the card's removal changes the session.
    pub(crate) fn is_bound_to_card(&self) -> bool {
        self.locked.is_none() && self.policy.mode != Mode::Mobility
    }

    /// Returns `true` while the card's place is unknown.
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

/// A limit beyond the clock's range is no limit.
fn after(time: Duration, limit: Option<Duration>) -> Option<Duration> {
    time.checked_add(limit?)
}

#[cfg(test)]
mod tests;
