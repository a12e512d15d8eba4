//! The generator under clock steps, restarts and exhaustion.

use super::*;
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(1_795_000_000);
const OPEN: u64 = u64::MAX;

fn at(mono: u64, unix: u64) -> Now {
    Now { mono: Duration::from_secs(mono), unix: Duration::from_secs(unix) }
}

#[test]
fn sqn_is_48_bits_of_seq_and_ind() {
    assert_eq!(Sqn::new(1 << 48), None);
    let sqn = Sqn::from_octets([0xff, 0x9b, 0xb4, 0xd0, 0xb6, 0x07]);
    assert_eq!((sqn.seq(), sqn.ind()), (0xff9b_b4d0_b607 >> 5, 7));
    assert_eq!(sqn.to_string(), "ff9bb4d0b607");
    assert_eq!(Sqn::from_parts(sqn.seq(), sqn.ind()), Some(sqn));
    assert_eq!(Sqn::from_parts(SEQ_MAX + 1, 0), None);
    assert_eq!(Sqn::from_parts(0, 32), None);
}

#[test]
fn first_vector_follows_an_imported_sqn_within_delta() {
    for value in [0, 0x20, 0x4a1, 0xff9b_b4d0_b607] {
        let card = Sqn::new(value).unwrap();
        let mut state = SqnState::imported(card, NOW).unwrap();
        let first = state.next(NOW + Duration::from_secs(86_400), 3, OPEN).unwrap();
        assert!(first.seq() > card.seq() && first.seq() - card.seq() <= DELTA);
    }
}

#[test]
fn one_burst_is_capped_and_time_heals_it() {
    let mut state = SqnState::imported(Sqn::ZERO, NOW).unwrap();
    let issued = (0..1000).take_while(|_| state.next(NOW, 0, OPEN).is_ok()).count();
    assert_eq!(issued as u64, MAX_LEAD + 1);
    assert_eq!(state.next(NOW, 0, OPEN), Err(SqnError::Lead));
    assert!(state.next(NOW + Duration::from_secs(1), 0, OPEN).is_ok());
}

#[test]
fn nothing_is_issued_above_the_mark() {
    let mut state = SqnState::imported(Sqn::ZERO, NOW).unwrap();
    let mark = ticks(NOW) + 2;
    assert!((0..3).all(|_| state.next(NOW, 0, mark).is_ok()));
    let before = state;
    assert_eq!(state.next(NOW, 0, mark), Err(SqnError::HighWater));
    assert_eq!(state, before);
}

#[test]
fn the_range_ends_instead_of_wrapping() {
    let last = Sqn::from_parts(SEQ_MAX - 1, 0).unwrap();
    let mut state = SqnState::imported(last, NOW).unwrap();
    assert_eq!(state.next(NOW, 31, OPEN).unwrap().seq(), SEQ_MAX);
    assert_eq!(state.next(NOW, 31, OPEN), Err(SqnError::Exhausted));
    assert_eq!(SqnState::imported(Sqn::from_parts(SEQ_MAX, 0).unwrap(), NOW), Err(SqnError::Exhausted));
    assert_eq!(state.next(NOW, 32, OPEN), Err(SqnError::Ind(32)));
}

#[test]
fn resync_goes_to_the_card_in_both_directions() {
    let mut state = SqnState::imported(Sqn::new(0x10_0000).unwrap(), NOW).unwrap();
    for seq in [SEQ_MAX / 2, 7] {
        state.resync(Sqn::from_parts(seq, 9).unwrap(), NOW).unwrap();
        assert_eq!(state.next(NOW, 0, OPEN).unwrap().seq(), seq + 1);
    }
}

#[test]
fn what_was_issued_while_an_auts_was_under_way_is_not_issued_again() {
    let mut state = SqnState::imported(Sqn::from_parts(1000, 0).unwrap(), NOW).unwrap();
    let last = (0..5).map(|_| state.next(NOW, 0, OPEN).unwrap().seq()).last().unwrap();
    state.resync(Sqn::from_parts(1002, 9).unwrap(), NOW).unwrap();
    assert_eq!(state.next(NOW, 0, OPEN).unwrap().seq(), last + 1);
    state.adopt(SqnState { last_seq: 900, offset: state.offset - 50 });
    assert_eq!(state.next(NOW, 0, OPEN).unwrap().seq(), last + 2);
}

#[test]
fn a_restart_goes_on_above_the_mark_even_with_the_clock_set_back() {
    let clock = SqnClock::start(at(0, 1_795_000_000), 0);
    let mut state = SqnState::imported(Sqn::ZERO, clock.read(at(0, 1_795_000_000))).unwrap();
    let mark = clock.mark(at(0, 1_795_000_000));
    let mut last = Sqn::ZERO;
    while let Ok(sqn) = state.next(clock.read(at(0, 0)), 0, mark) {
        last = sqn;
    }
    // A day back, and the process's monotonic clock starts anew.
    let restart = at(5, 1_794_913_600);
    let clock = SqnClock::start(restart, mark);
    let mut state = SqnState::restored(state.offset, clock.floor());
    let next = state.next(clock.read(restart), 0, clock.mark(restart)).unwrap();
    assert!(next.seq() > last.seq());
}

proptest! {
    /// Whatever the wall clock does, SEQ grows and no subscriber is locked out for more than the lead.
    #[test]
    fn stepping_clocks_never_move_seq_back(start in 0u64..0xffff_ffff, steps in prop::collection::vec((0u64..20, -100_000i64..100_000), 1..200)) {
        let mut now = at(100, 1_795_000_000);
        let clock = SqnClock::start(now, 0);
        let mut state = SqnState::imported(Sqn::new(start).unwrap(), clock.read(now)).unwrap();
        let mut last = Sqn::new(start).unwrap().seq();
        for (elapsed, step) in steps {
            now.mono += Duration::from_secs(elapsed);
            now.unix = Duration::from_secs((now.unix.as_secs() as i64 + step).max(0) as u64);
            let sqn = state.next(clock.read(now), 0, clock.mark(now));
            if let Ok(sqn) = sqn {
                prop_assert!(sqn.seq() > last);
                last = sqn.seq();
            } else {
                prop_assert_eq!(elapsed, 0);
            }
        }
    }

    /// Even with a raw clock that steps, what is issued only grows.
    #[test]
    fn a_raw_clock_may_be_refused_but_never_goes_back(times in prop::collection::vec(0u64..4_000_000_000, 1..100)) {
        let mut state = SqnState::imported(Sqn::ZERO, NOW).unwrap();
        let mut last = 0;
        for time in times {
            if let Ok(sqn) = state.next(Duration::from_secs(time), 1, OPEN) {
                prop_assert!(sqn.seq() > last);
                last = sqn.seq();
            }
        }
    }
}
