//! Milenage (TS 35.207, TS 35.208) and TUAK (TS 35.233) against their published sets, and AUTN and AUTS
//! (TS 33.102 §6.3) made from them.

mod vectors;

use imscript::aka::tuak::{self, Tuak, TuakKey};
use imscript::aka::{Algorithm, Amf, Auts, KeySet, Rand, Sqn, resync};
use serde_json::Value;
use std::num::NonZeroU8;
use vectors::{array, hex, load, number, octets, text};

const FILES: [&str; 2] = ["aka-vectors.json", "aka-more.json"];

fn sets(algorithm: &str) -> Vec<Value> {
    FILES.iter().flat_map(|file| load(file)[algorithm].as_array().unwrap().clone()).collect()
}

/// RAND, SQN and AMF of a set.
fn challenge(input: &Value) -> (Rand, Sqn, Amf) {
    (Rand(array(input, "rand")), Sqn::from_octets(array(input, "sqn")), Amf(array(input, "amf")))
}

#[test]
fn milenage_sets() {
    let sets = sets("milenage");
    assert!(sets.len() >= 8);
    for set in sets {
        let (input, out) = (&set["in"], &set["out"]);
        let keys = KeySet::from_op(Algorithm::Milenage, &octets(input, "k"), &octets(input, "op")).unwrap();
        assert_eq!(hex(keys.opc()), text(out, "opc"), "{set}");
        let keys = KeySet::from_opc(Algorithm::Milenage, &octets(input, "k"), &octets(out, "opc")).unwrap();
        let (rand, sqn, amf) = challenge(input);
        assert_eq!(hex(&keys.f1(&rand, sqn, amf)), text(out, "f1"), "{set}");
        assert_eq!(hex(&keys.f1_star(&rand, sqn, amf)), text(out, "f1star"), "{set}");
        let session = keys.f2345(&rand);
        assert_eq!(hex(session.res.as_bytes()), text(out, "f2"), "{set}");
        assert_eq!(hex(&session.ck.0), text(out, "f3"), "{set}");
        assert_eq!(hex(&session.ik.0), text(out, "f4"), "{set}");
        assert_eq!(hex(&session.ak), text(out, "f5"), "{set}");
        assert_eq!(hex(&keys.f5_star(&rand)), text(out, "f5star"), "{set}");

        let vector = keys.generate(rand, sqn, amf);
        assert_eq!(vector.autn.sqn(&session.ak), sqn);
        assert_eq!(vector.autn.amf(), amf);
        assert_eq!(hex(&vector.autn.mac_a()), text(out, "f1"), "{set}");
        assert_eq!(hex(vector.xres.as_bytes()), text(out, "f2"), "{set}");
        assert_eq!((hex(&vector.ck.0), hex(&vector.ik.0)), (text(out, "f3").into(), text(out, "f4").into()));
    }
}

#[test]
fn tuak_sets_in_all_lengths() {
    let sets = sets("tuak");
    assert!(sets.len() >= 8);
    for set in sets {
        let (input, out) = (&set["in"], &set["out"]);
        let k = TuakKey::try_from(octets(input, "k").as_slice()).unwrap();
        let iterations = NonZeroU8::new(number(input, "keccak_iterations") as u8).unwrap();
        let topc = tuak::topc(&k, &array(input, "top"), iterations);
        assert_eq!(hex(&topc.0), text(out, "topc"), "{set}");
        let (rand, sqn, amf) = challenge(input);
        let tuak = Tuak::new(&k, &topc, iterations);
        let mac = number(input, "mac_bits").try_into().unwrap();
        assert_eq!(hex(tuak.f1(&rand, sqn, amf, mac).as_bytes()), text(out, "f1"), "{set}");
        assert_eq!(hex(tuak.f1_star(&rand, sqn, amf, mac).as_bytes()), text(out, "f1star"), "{set}");
        let bits = |name| number(input, name);
        let session = tuak.f2345(
            &rand,
            bits("res_bits").try_into().unwrap(),
            bits("ck_bits").try_into().unwrap(),
            bits("ik_bits").try_into().unwrap(),
        );
        assert_eq!(hex(session.res.as_bytes()), text(out, "f2"), "{set}");
        assert_eq!(hex(session.ck.as_bytes()), text(out, "f3"), "{set}");
        assert_eq!(hex(session.ik.as_bytes()), text(out, "f4"), "{set}");
        assert_eq!(hex(&session.ak), text(out, "f5"), "{set}");
        assert_eq!(hex(&tuak.f5_star(&rand)), text(out, "f5star"), "{set}");
    }
}

#[test]
fn tuak_in_ims_has_a_mac_of_64_and_keys_of_128_bits() {
    let set = &load("aka-vectors.json")["tuak"][0];
    let (input, out) = (&set["in"], &set["out"]);
    let mut keys = KeySet::from_op(Algorithm::Tuak, &octets(input, "k"), &octets(input, "top")).unwrap();
    assert_eq!(hex(keys.opc()), text(out, "topc"));
    if let KeySet::Tuak { res, .. } = &mut keys {
        *res = tuak::ResBits::B32;
    }
    let (rand, sqn, amf) = challenge(input);
    let vector = keys.generate(rand, sqn, amf);
    assert_eq!(hex(&vector.autn.mac_a()), text(out, "f1"));
    assert_eq!(hex(vector.xres.as_bytes()), text(out, "f2"));
    assert_eq!(hex(&vector.ck.0), text(out, "f3"));
    assert_eq!(hex(&vector.ik.0), text(out, "f4"));
}

#[test]
fn autn_and_auts_of_the_milenage_sets() {
    for set in load("aka-vectors.json")["milenage"].as_array().unwrap() {
        let (input, derived) = (&set["in"], &set["derived"]);
        let keys = KeySet::from_op(Algorithm::Milenage, &octets(input, "k"), &octets(input, "op")).unwrap();
        let (rand, sqn, amf) = challenge(input);
        assert_eq!(hex(&keys.generate(rand, sqn, amf).autn.0), text(derived, "autn"));
        let auts = resync::make_auts(&keys, &rand, sqn);
        assert_eq!(hex(&auts.0), text(derived, "auts_if_sqn_ms_equals_sqn"));
        assert_eq!(hex(&keys.f1_star(&rand, sqn, Amf::RESYNC)), text(derived, "mac_s_with_amf_0000"));
        assert_eq!(resync::sqn_ms(&keys, &rand, &auts), Ok(sqn));
    }
}

#[test]
fn every_flipped_bit_of_auts_is_refused() {
    let set = &load("aka-vectors.json")["milenage"][1]["in"];
    let keys = KeySet::from_op(Algorithm::Milenage, &octets(set, "k"), &octets(set, "op")).unwrap();
    let (rand, sqn, _) = challenge(set);
    let auts = resync::make_auts(&keys, &rand, sqn);
    for bit in 0..14 * 8 {
        let mut flipped = auts.0;
        flipped[bit / 8] ^= 0x80 >> (bit % 8);
        assert_eq!(resync::sqn_ms(&keys, &rand, &Auts(flipped)), Err(resync::ResyncError::MacS));
    }
    assert!(resync::sqn_ms(&keys, &Rand([7; 16]), &auts).is_err());
}

#[test]
fn keys_of_wrong_length_are_refused_and_debug_shows_none() {
    for (algorithm, k, op) in [
        (Algorithm::Milenage, 32, 16),
        (Algorithm::Milenage, 16, 32),
        (Algorithm::Milenage, 0, 16),
        (Algorithm::Tuak, 24, 32),
        (Algorithm::Tuak, 16, 16),
    ] {
        assert!(KeySet::from_opc(algorithm, &vec![0xab; k], &vec![0xab; op]).is_err());
        assert!(KeySet::from_op(algorithm, &vec![0xab; k], &vec![0xab; op]).is_err());
    }
    let keys = KeySet::from_opc(Algorithm::Tuak, &[0xab; 32], &[0xab; 32]).unwrap();
    let shown = format!("{keys:?}").to_lowercase();
    assert!(!shown.contains("ab,") && !shown.contains("171"), "{shown}");
}
