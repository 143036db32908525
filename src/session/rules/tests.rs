use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// Sessions do not begin with the computer.
const BEGUN: Duration = Duration::from_secs(10_000);
const ALMOST: Duration = Duration::from_nanos(1);

fn life(mode: Mode, limits: Limits) -> Life {
    let policy = Policy { mode, lock_timeout: 30 * MINUTE, reauthentication: 60 * MINUTE };
    Life::new(policy, limits, None, BEGUN)
}

fn unlimited(mode: Mode) -> Life {
    life(mode, Limits::default())
}

fn limited(idle: u32, total: u32) -> Life {
    life(Mode::Normal, Limits { idle: Some(idle * MINUTE), total: Some(total * MINUTE) })
}

const MODES: [Mode; 3] = [Mode::Normal, Mode::SessionLock, Mode::Mobility];

#[test]
fn a_session_ends_at_its_total_limit_however_it_is_used() {
    let mut life = limited(10, 15);
    assert_eq!(life.on(Happening::Used, BEGUN + 8 * MINUTE), Change::Nothing);
    assert_eq!(life.due(), Some(BEGUN + 15 * MINUTE));
    assert_eq!(life.at(BEGUN + 15 * MINUTE - ALMOST), Change::Nothing);
    assert_eq!(life.at(BEGUN + 15 * MINUTE), Change::Ended(EndReason::Expired));
}

#[test]
fn a_session_that_is_not_used_ends_at_its_idle_limit() {
    let mut life = limited(10, 600);
    assert_eq!(life.due(), Some(BEGUN + 10 * MINUTE));
    assert_eq!(life.at(BEGUN + 10 * MINUTE - ALMOST), Change::Nothing);
    assert_eq!(life.at(BEGUN + 10 * MINUTE), Change::Ended(EndReason::Idle));
}

#[test]
fn asking_for_the_ticket_restarts_the_idle_limit() {
    let mut life = limited(10, 600);
    assert_eq!(life.on(Happening::Used, BEGUN + 9 * MINUTE), Change::Nothing);
    assert_eq!(life.due(), Some(BEGUN + 19 * MINUTE));
    assert_eq!(life.at(BEGUN + 19 * MINUTE - ALMOST), Change::Nothing);
    assert_eq!(life.at(BEGUN + 19 * MINUTE), Change::Ended(EndReason::Idle));
}

#[test]
fn a_session_without_limits_never_ends_by_itself() {
    for mode in [Mode::Normal, Mode::SessionLock] {
        let mut life = unlimited(mode);
        assert_eq!((life.due(), life.at(Duration::MAX)), (None, Change::Nothing));
    }
}

#[test]
fn a_limit_beyond_the_end_of_time_is_none() {
    let limits = Limits { idle: Some(Duration::MAX), total: Some(Duration::MAX) };
    assert_eq!(life(Mode::Normal, limits).due(), None);
    let policy = Policy { mode: Mode::SessionLock, lock_timeout: Duration::MAX, reauthentication: Duration::MAX };
    let mut life = Life::new(policy, Limits::default(), None, BEGUN);
    assert_eq!(life.on(Happening::CardOut, BEGUN), Change::Locked(LockReason::CardRemoved));
    assert_eq!((life.lock_end(), life.at(Duration::MAX)), (None, Change::Nothing));
}

#[test]
fn a_clock_that_goes_backward_brings_nothing_back() {
    let mut life = limited(10, 600);
    assert_eq!(life.at(BEGUN + 9 * MINUTE), Change::Nothing);
    assert_eq!(life.on(Happening::Used, BEGUN), Change::Nothing);
    assert_eq!(life.due(), Some(BEGUN + 19 * MINUTE), "it was used later than it seems");
    assert_eq!(life.at(BEGUN + 19 * MINUTE), Change::Ended(EndReason::Idle));
    assert_eq!(life.at(BEGUN), Change::Ended(EndReason::Idle));
}

#[test]
fn taking_the_card_out_ends_locks_or_does_nothing_as_the_mode_says() {
    let changes = [Change::Ended(EndReason::Removed), Change::Locked(LockReason::CardRemoved), Change::Nothing];
    for (mode, change) in MODES.into_iter().zip(changes) {
        let mut life = unlimited(mode);
        assert_eq!(life.is_bound_to_card(), mode != Mode::Mobility);
        assert_eq!(life.on(Happening::CardOut, BEGUN + SECOND), change, "{mode:?}");
    }
}

#[test]
fn readers_that_cannot_be_watched_any_more_count_as_a_removal() {
    let changes = [Change::Ended(EndReason::ReaderLost), Change::Locked(LockReason::CardRemoved), Change::Nothing];
    for (mode, change) in MODES.into_iter().zip(changes) {
        assert_eq!(unlimited(mode).on(Happening::Unwatched, BEGUN), change, "{mode:?}");
    }
}

#[test]
fn a_card_that_is_not_seen_for_five_seconds_counts_as_removed() {
    let changes = [Change::Ended(EndReason::ReaderLost), Change::Locked(LockReason::CardRemoved)];
    for (mode, change) in MODES.into_iter().zip(changes) {
        let mut life = unlimited(mode);
        assert!(!life.is_unseen());
        assert_eq!(life.on(Happening::CardUnseen, BEGUN + MINUTE), Change::Nothing);
        assert!(life.is_unseen());
        // Said again, it does not begin anew.
        assert_eq!(life.on(Happening::CardUnseen, BEGUN + MINUTE + SECOND), Change::Nothing);
        assert_eq!(life.due(), Some(BEGUN + MINUTE + UNSEEN));
        assert_eq!(life.at(BEGUN + MINUTE + UNSEEN - ALMOST), Change::Nothing);
        assert_eq!(life.at(BEGUN + MINUTE + UNSEEN), change, "{mode:?}");
    }
    assert_eq!(UNSEEN, 5 * SECOND);
}

#[test]
fn a_card_that_is_seen_again_in_time_goes_on() {
    let mut life = unlimited(Mode::Normal);
    assert_eq!(life.on(Happening::CardUnseen, BEGUN), Change::Nothing);
    assert_eq!(life.on(Happening::CardSeen, BEGUN + 4 * SECOND), Change::Nothing);
    assert!(!life.is_unseen());
    assert_eq!((life.due(), life.at(BEGUN + MINUTE)), (None, Change::Nothing));
}

#[test]
fn in_mobility_nobody_looks_for_the_card() {
    let mut life = unlimited(Mode::Mobility);
    assert_eq!(life.on(Happening::CardUnseen, BEGUN), Change::Nothing);
    assert!(!life.is_unseen());
    assert_eq!(life.at(BEGUN + MINUTE), Change::Nothing);
}

#[test]
fn a_locked_session_is_unlocked_by_its_card_and_pin_alone() {
    let mut life = unlimited(Mode::SessionLock);
    assert_eq!(life.locked(), None);
    assert_eq!(life.on(Happening::CardOut, BEGUN + MINUTE), Change::Locked(LockReason::CardRemoved));
    let card_changes = [Happening::CardOut, Happening::CardUnseen, Happening::CardSeen, Happening::Unwatched];
    for happening in card_changes.into_iter().chain([Happening::Used]) {
        assert_eq!(life.on(happening, BEGUN + 2 * MINUTE), Change::Nothing, "{happening:?}");
        assert_eq!(life.locked(), Some(LockReason::CardRemoved), "{happening:?}");
        assert!(!life.is_bound_to_card() && !life.is_unseen(), "{happening:?}");
    }
    assert_eq!(life.on(Happening::Proved, BEGUN + 3 * MINUTE), Change::Unlocked);
    assert_eq!((life.locked(), life.lock_end(), life.due()), (None, None, None));
    assert!(life.is_bound_to_card());
}

#[test]
fn a_session_that_nobody_unlocks_ends() {
    let mut life = unlimited(Mode::SessionLock);
    assert_eq!(life.on(Happening::CardOut, BEGUN + MINUTE), Change::Locked(LockReason::CardRemoved));
    assert_eq!(life.lock_end(), Some(BEGUN + 31 * MINUTE));
    assert_eq!(life.due(), life.lock_end());
    // It was removed once.
    assert_eq!(life.on(Happening::CardOut, BEGUN + 20 * MINUTE), Change::Nothing);
    assert_eq!(life.at(BEGUN + 31 * MINUTE - ALMOST), Change::Nothing);
    assert_eq!(life.at(BEGUN + 31 * MINUTE), Change::Ended(EndReason::NotUnlocked));
}

#[test]
fn the_limits_count_for_a_locked_session_too() {
    let limits = Limits { idle: Some(10 * MINUTE), total: None };
    let mut life = life(Mode::SessionLock, limits);
    assert_eq!(life.on(Happening::CardOut, BEGUN + 5 * MINUTE), Change::Locked(LockReason::CardRemoved));
    assert_eq!(life.on(Happening::Used, BEGUN + 9 * MINUTE), Change::Nothing);
    assert_eq!(life.due(), Some(BEGUN + 10 * MINUTE), "who gets no ticket does not use the session");
    assert_eq!(life.at(BEGUN + 10 * MINUTE), Change::Ended(EndReason::Idle));
}

#[test]
fn unlocking_counts_as_use() {
    let limits = Limits { idle: Some(10 * MINUTE), total: None };
    let mut life = life(Mode::SessionLock, limits);
    assert_eq!(life.on(Happening::CardOut, BEGUN + 5 * MINUTE), Change::Locked(LockReason::CardRemoved));
    assert_eq!(life.on(Happening::Proved, BEGUN + 9 * MINUTE), Change::Unlocked);
    assert_eq!(life.due(), Some(BEGUN + 19 * MINUTE));
}

#[test]
fn in_mobility_card_and_pin_are_due_from_time_to_time() {
    let mut life = unlimited(Mode::Mobility);
    assert_eq!(life.due(), Some(BEGUN + 60 * MINUTE));
    assert_eq!(life.on(Happening::Used, BEGUN + 59 * MINUTE), Change::Nothing);
    assert_eq!(life.at(BEGUN + 60 * MINUTE - ALMOST), Change::Nothing);
    assert_eq!(life.at(BEGUN + 60 * MINUTE), Change::Locked(LockReason::ReauthenticationDue));
    assert_eq!(life.at(BEGUN + 60 * MINUTE), Change::Nothing);
    assert_eq!(life.locked(), Some(LockReason::ReauthenticationDue));
    assert_eq!(life.due(), Some(BEGUN + 90 * MINUTE));
    assert_eq!(life.on(Happening::Proved, BEGUN + 70 * MINUTE), Change::Unlocked);
    assert_eq!(life.due(), Some(BEGUN + 130 * MINUTE));
}

#[test]
fn only_mobility_asks_again() {
    for mode in [Mode::Normal, Mode::SessionLock] {
        assert_eq!(unlimited(mode).at(BEGUN + 600 * MINUTE), Change::Nothing);
    }
}

#[test]
fn a_lock_that_was_slept_through_began_when_it_was_due() {
    let mut life = unlimited(Mode::Mobility);
    let woken = BEGUN + 600 * MINUTE;
    assert_eq!(life.at(woken), Change::Locked(LockReason::ReauthenticationDue));
    assert_eq!(life.at(woken), Change::Ended(EndReason::NotUnlocked));
}

#[test]
fn a_proof_for_a_session_that_is_not_locked_only_counts_as_one() {
    let mut life = unlimited(Mode::Mobility);
    assert_eq!(life.on(Happening::Proved, BEGUN + 10 * MINUTE), Change::Nothing);
    assert_eq!(life.due(), Some(BEGUN + 70 * MINUTE));
}

#[test]
fn a_session_that_was_locked_unseen_goes_on_once_it_is_unlocked() {
    let mut life = unlimited(Mode::SessionLock);
    assert_eq!(life.on(Happening::CardUnseen, BEGUN), Change::Nothing);
    assert_eq!(life.at(BEGUN + UNSEEN), Change::Locked(LockReason::CardRemoved));
    assert!(!life.is_unseen());
    assert_eq!(life.on(Happening::Proved, BEGUN + MINUTE), Change::Unlocked);
    assert_eq!((life.due(), life.at(BEGUN + 2 * MINUTE)), (None, Change::Nothing));
}

/// A session of 600 minutes whose ticket expires after `after` seconds.
fn with_ticket(after: u32, renewable: Option<u32>) -> Life {
    let policy = Policy { mode: Mode::SessionLock, lock_timeout: 30 * MINUTE, reauthentication: 60 * MINUTE };
    let expiry = Expiry { after: after * SECOND, renewable: renewable.map(|seconds| seconds * SECOND) };
    Life::new(policy, Limits { idle: Some(30 * MINUTE), total: Some(600 * MINUTE) }, Some(expiry), BEGUN)
}

#[test]
fn a_ticket_is_renewed_before_it_expires() {
    for (after, renewable, renewal) in [
        (300, Some(1800), 240),
        (300, Some(300), 240),
        (3600, Some(1800), 1740),
        (100, Some(1800), 50),
        (12, Some(26), 6),
        (6, Some(26), 3),
    ] {
        let life = with_ticket(after, renewable);
        assert_eq!(life.renewal(), Some(BEGUN + renewal * SECOND), "{after} {renewable:?}");
        let last = renewable.map_or(0, |until| until.max(after - 5));
        let due = BEGUN + (last * SECOND).min(30 * MINUTE);
        assert_eq!(life.due(), Some(due), "a renewal is no change of the session");
    }
    assert_eq!(with_ticket(300, None).renewal(), None);
    assert_eq!(with_ticket(5, Some(5)).renewal(), None, "it could not be given out anyway");
}

#[test]
fn a_ticket_is_not_given_out_within_five_seconds_of_its_expiry() {
    for after in [12, 300] {
        let mut life = with_ticket(after, Some(1800));
        let end = BEGUN + after * SECOND - MARGIN;
        assert_eq!(life.gives_ticket_until(), Some(end));
        assert_eq!(life.at(end - ALMOST), Change::Nothing);
        assert!(life.gives_ticket());
        assert_eq!(life.at(end), Change::Nothing, "the session lives on");
        assert!(!life.gives_ticket());
        life.renewed(Some(Expiry { after: 300 * SECOND, renewable: None }), end);
        assert!(life.gives_ticket());
    }
}

#[test]
fn a_session_ends_with_a_ticket_that_cannot_be_renewed() {
    let mut life = with_ticket(300, None);
    assert_eq!(life.due(), Some(BEGUN + 295 * SECOND));
    assert_eq!(life.at(BEGUN + 295 * SECOND - ALMOST), Change::Nothing);
    assert_eq!(life.at(BEGUN + 295 * SECOND), Change::Ended(EndReason::TicketExpired));
    let mut life = with_ticket(300, Some(1800));
    life.is_not_renewable();
    assert_eq!(life.at(BEGUN + 295 * SECOND), Change::Ended(EndReason::TicketExpired));
}

#[test]
fn a_session_ends_when_its_ticket_has_expired_and_can_no_longer_be_renewed() {
    for (after, renewable, last) in [(300, 900, 900), (300, 296, 296), (300, 60, 295)] {
        let mut life = with_ticket(after, Some(renewable));
        assert_eq!(life.due(), Some(BEGUN + last * SECOND));
        assert_eq!(life.at(BEGUN + last * SECOND - ALMOST), Change::Nothing);
        assert_eq!(life.at(BEGUN + last * SECOND), Change::Ended(EndReason::TicketExpired));
    }
    let mut renewed = with_ticket(300, Some(900));
    renewed.renewed(Some(Expiry { after: 300 * SECOND, renewable: Some(900 * SECOND) }), BEGUN + 240 * SECOND);
    assert_eq!(renewed.due(), Some(BEGUN + 1140 * SECOND));

    // Its user brings another ticket.
    let mut locked = with_ticket(300, Some(900));
    assert_eq!(locked.on(Happening::CardOut, BEGUN + SECOND), Change::Locked(LockReason::CardRemoved));
    assert_eq!(locked.at(BEGUN + 901 * SECOND), Change::Nothing);
    assert_eq!(locked.on(Happening::Proved, BEGUN + 902 * SECOND), Change::Unlocked);
    locked.renewed(Some(Expiry { after: 300 * SECOND, renewable: Some(900 * SECOND) }), BEGUN + 902 * SECOND);
    assert_eq!((locked.at(BEGUN + 903 * SECOND), locked.gives_ticket()), (Change::Nothing, true));
}

#[test]
fn a_renewal_that_failed_is_tried_again_until_the_ticket_expires() {
    let mut life = with_ticket(300, Some(1800));
    let mut tries = Vec::new();
    while let Some(due) = life.renewal() {
        life.renewal_began();
        assert_eq!(life.renewal(), None, "one at a time");
        life.renewal_failed(due);
        tries.push(due - BEGUN);
    }
    assert_eq!(tries[..2], [240 * SECOND, 255 * SECOND]);
    assert!(tries.len() > 10 && tries.is_sorted() && tries.iter().all(|due| *due < 300 * SECOND), "{tries:?}");
    assert!(tries.windows(2).all(|pair| (PAUSES[0]..=PAUSES[1]).contains(&(pair[1] - pair[0]))), "{tries:?}");
}

#[test]
fn a_locked_session_is_not_renewed_until_it_is_unlocked() {
    let mut life = with_ticket(300, Some(1800));
    assert_eq!(life.on(Happening::CardOut, BEGUN + SECOND), Change::Locked(LockReason::CardRemoved));
    assert_eq!((life.renewal(), life.gives_ticket()), (None, false));
    assert_eq!(life.on(Happening::Proved, BEGUN + 10 * MINUTE), Change::Unlocked);
    assert_eq!(life.renewal(), Some(BEGUN + 240 * SECOND), "at once");
    assert!(!life.gives_ticket());
}

#[test]
fn a_renewal_is_no_use() {
    let mut life = with_ticket(300, Some(1800));
    life.renewed(Some(Expiry { after: 3600 * SECOND, renewable: Some(3600 * SECOND) }), BEGUN + 4 * MINUTE);
    assert_eq!(life.at(BEGUN + 30 * MINUTE), Change::Ended(EndReason::Idle));
}
