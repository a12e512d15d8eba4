//! The card against the HSS's generator, and against what a network gets wrong.

use super::*;
use crate::aka::{Algorithm, Amf, SqnState};
use proptest::prelude::*;
use std::time::Duration;

const NOW: Duration = Duration::from_secs(1_795_000_000);
const AMF: Amf = Amf::IMS;

fn keys(algorithm: Algorithm) -> KeySet {
    let op = [0x5a; 32];
    KeySet::from_op(algorithm, &[0x46; 16], if algorithm == Algorithm::Tuak { &op } else { &op[..16] }).unwrap()
}

fn sqn(seq: u64, ind: u8) -> Sqn {
    Sqn::from_parts(seq, ind).unwrap()
}

fn challenge(keys: &KeySet, n: u8, sqn: Sqn) -> (Rand, Autn) {
    let vector = keys.generate(Rand([n; 16]), sqn, AMF);
    (vector.rand, vector.autn)
}

#[test]
fn both_sides_get_the_same_keys() {
    for algorithm in [Algorithm::Milenage, Algorithm::Tuak] {
        let keys = keys(algorithm);
        let vector = keys.generate(Rand([9; 16]), sqn(1, 0), AMF);
        let success = Usim::new(keys, SqnArray::fresh()).authenticate(&vector.rand, &vector.autn).unwrap();
        assert_eq!(success.res.as_bytes(), vector.xres.as_bytes());
        assert_eq!((success.ck.0, success.ik.0), (vector.ck.0, vector.ik.0));
    }
}

#[test]
fn a_replay_is_a_sync_failure_and_the_auts_leads_back() {
    let keys = keys(Algorithm::Milenage);
    let mut card = Usim::new(keys.clone(), SqnArray::fresh());
    let (rand, autn) = challenge(&keys, 1, sqn(700, 3));
    card.authenticate(&rand, &autn).unwrap();
    let before = card.sqn().clone();
    let Err(Failure::SyncFailure(auts)) = card.authenticate(&rand, &autn) else { panic!("accepted twice") };
    assert_eq!(card.sqn(), &before);
    assert_eq!(resync::sqn_ms(&keys, &rand, &auts), Ok(sqn(700, 3)));
}

#[test]
fn a_foreign_network_is_a_mac_failure_and_changes_nothing() {
    let keys = keys(Algorithm::Milenage);
    let mut card = Usim::new(keys.clone(), SqnArray::fresh());
    let (rand, autn) = challenge(&keys, 1, sqn(1, 0));
    for bit in 0..128 {
        let mut flipped = autn;
        flipped.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(card.authenticate(&rand, &flipped).unwrap_err(), Failure::MacFailure);
    }
    assert_eq!(card.sqn(), &SqnArray::fresh());
    card.authenticate(&rand, &autn).unwrap();
}

#[test]
fn delta_bounds_the_jump() {
    let keys = keys(Algorithm::Milenage);
    for (seq, accepted) in [(5 + DELTA, true), (6 + DELTA, false)] {
        let mut card = Usim::new(keys.clone(), SqnArray::at(sqn(5, 0)));
        let (rand, autn) = challenge(&keys, 1, sqn(seq, 7));
        assert_eq!(card.authenticate(&rand, &autn).is_ok(), accepted);
    }
}

#[test]
fn every_ind_has_its_own_sequence() {
    let keys = keys(Algorithm::Milenage);
    let mut card = Usim::new(keys.clone(), SqnArray::fresh());
    for (seq, ind, accepted) in [(100, 0, true), (90, 1, true), (90, 1, false), (99, 0, false), (91, 1, true)] {
        let (rand, autn) = challenge(&keys, 1, sqn(seq, ind));
        assert_eq!(card.authenticate(&rand, &autn).is_ok(), accepted, "SEQ {seq} IND {ind}");
    }
}

#[test]
fn the_separation_bit_is_refused_only_when_told_so() {
    let keys = keys(Algorithm::Milenage);
    let vector = keys.generate(Rand([1; 16]), sqn(1, 0), Amf([0x80, 0]));
    let mut strict = Usim::new(keys.clone(), SqnArray::fresh()).refusing_separation_bit(true);
    assert_eq!(strict.authenticate(&vector.rand, &vector.autn).unwrap_err(), Failure::SeparationBit);
    assert!(Usim::new(keys, SqnArray::fresh()).authenticate(&vector.rand, &vector.autn).is_ok());
}

#[test]
fn the_array_is_a_list_of_32_numbers_and_nothing_else() {
    let array = SqnArray::at(sqn(77, 4));
    let text = serde_json::to_string(&array).unwrap();
    assert!(text.starts_with("[77,77,77,77,77,76,"), "{text}");
    assert_eq!(serde_json::from_str::<SqnArray>(&text).unwrap(), array);
    let beyond = format!("[{}]", vec![(SEQ_MAX + 1).to_string(); 32].join(","));
    for bad in ["[]", "[1,2]", "{}", beyond.as_str()] {
        assert!(serde_json::from_str::<SqnArray>(bad).is_err(), "{bad}");
    }
}

proptest! {
    /// The card accepts what the generator issues, in order, from whatever SQN it was imported with.
    #[test]
    fn the_card_accepts_the_generators_output(
        start in 0u64..(1 << 48) - (1 << 40),
        ind in 0u8..32,
        pauses in prop::collection::vec(0u64..100_000, 1..40),
    ) {
        let keys = keys(Algorithm::Milenage);
        let start = Sqn::new(start).unwrap();
        let mut card = Usim::new(keys.clone(), SqnArray::at(start));
        let mut state = SqnState::imported(start, NOW).unwrap();
        let mut now = NOW;
        for pause in pauses {
            now += Duration::from_millis(pause);
            let sqn = state.next(now, ind, u64::MAX).unwrap();
            let (rand, autn) = challenge(&keys, 1, sqn);
            prop_assert!(card.authenticate(&rand, &autn).is_ok());
        }
    }

    /// Card and network may be anywhere: one AUTS brings them together.
    #[test]
    fn one_auts_brings_card_and_network_together(
        card_sqn in 0u64..(1 << 48) - (1 << 40),
        network in 0u64..(1 << 48) - (1 << 40),
        ind in 0u8..32,
    ) {
        let keys = keys(Algorithm::Milenage);
        let card_sqn = Sqn::new(card_sqn).unwrap();
        let mut card = Usim::new(keys.clone(), SqnArray::at(card_sqn));
        let mut state = SqnState::imported(Sqn::new(network).unwrap(), NOW).unwrap();
        let (rand, autn) = challenge(&keys, 1, state.next(NOW, ind, u64::MAX).unwrap());
        match card.authenticate(&rand, &autn) {
            Ok(_) => {}
            Err(Failure::SyncFailure(auts)) => {
                let sqn_ms = resync::sqn_ms(&keys, &rand, &auts).unwrap();
                prop_assert_eq!(sqn_ms, if card_sqn.seq() == 0 { Sqn::ZERO } else { card_sqn });
                state.resync(sqn_ms, NOW).unwrap();
                let (rand, autn) = challenge(&keys, 2, state.next(NOW, ind, u64::MAX).unwrap());
                prop_assert!(card.authenticate(&rand, &autn).is_ok());
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
