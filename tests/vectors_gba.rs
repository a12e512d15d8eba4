//! GBA keys and identifiers (TS 33.220 annex B, §4.5.2, §5.3.2) from worked examples.

mod vectors;

use imscript::aka::{AkaVector, Algorithm, Amf, KeySet, Rand, Sqn};
use imscript::auth::nonce;
use imscript::gba::btid::Btid;
use imscript::gba::kdf::{self, FC_GBA, Ks};
use imscript::gba::naf_id::{NafId, UaId};
use serde_json::Value;
use vectors::{array, hex, load, octets, text};

fn vector(input: &Value) -> AkaVector {
    let keys = KeySet::from_op(Algorithm::Milenage, &octets(input, "k"), &octets(input, "op")).unwrap();
    keys.generate(Rand(array(input, "rand")), Sqn::from_octets(array(input, "sqn")), Amf(array(input, "amf")))
}

fn naf(set: &Value) -> NafId {
    NafId::new(text(set, "naf_fqdn"), UaId::parse(text(set, "ua_protocol_id")).unwrap()).unwrap()
}

fn sets() -> Vec<Value> {
    load("gba.json")["sets"].as_array().unwrap().clone()
}

#[test]
fn bootstrapping_vector_ks_b_tid_and_nonce() {
    for set in sets() {
        let (input, out) = (&set["in"], &set["out"]);
        let vector = vector(input);
        assert_eq!(hex(vector.xres.as_bytes()), text(out, "res"));
        assert_eq!(hex(&vector.autn.0), text(out, "autn"));
        assert_eq!(hex(&Ks::new(&vector.ck, &vector.ik).0), text(out, "ks"));
        let btid = Btid::new(&vector.rand, text(input, "bsf_domain"));
        assert_eq!(btid.text(), text(out, "b_tid"));
        assert_eq!(Btid::parse(text(out, "b_tid")).unwrap(), btid);
        // In GBA_U the nonce carries AUTN*.
        let autn = match out.get("autn_star") {
            Some(_) => kdf::autn_star(&vector.autn, &vector.ik),
            None => vector.autn,
        };
        assert_eq!(nonce::encode(&vector.rand, &autn), text(out, "nonce_ub"));
        assert_eq!(nonce::decode(text(out, "nonce_ub").as_bytes()), Ok((vector.rand, autn)));
    }
}

#[test]
fn naf_keys_of_gba_me_and_gba_u() {
    for set in sets() {
        let (input, out) = (&set["in"], &set["out"]);
        let (vector, naf, impi) = (vector(input), naf(input), text(input, "impi"));
        let ks = Ks::new(&vector.ck, &vector.ik);
        assert_eq!(hex(&naf.octets()), text(out, "naf_id"));
        let key = hex(&kdf::ks_naf(&ks, &vector.rand, impi, &naf).0);
        let s = |name: &[u8]| hex(&kdf::kdf_input(FC_GBA, &[name, &vector.rand.0, impi.as_bytes(), &naf.octets()]));
        if text(&set, "mode") == "me" {
            assert_eq!(key, text(out, "ks_naf"));
            assert_eq!(s(b"gba-me"), text(out, "kdf_s"));
        } else {
            assert_eq!(key, text(out, "ks_ext_naf"));
            assert_eq!(s(b"gba-me"), text(out, "kdf_s_ext"));
            assert_eq!(s(b"gba-u"), text(out, "kdf_s_int"));
            assert_eq!(hex(&kdf::ks_int_naf(&ks, &vector.rand, impi, &naf).0), text(out, "ks_int_naf"));
        }
    }
}

#[test]
fn another_identifier_or_another_case_is_another_key() {
    for set in sets() {
        let vector = vector(&set["in"]);
        let ks = Ks::new(&vector.ck, &vector.ik);
        let impi = text(&set["in"], "impi");
        for also in set["also"].as_array().unwrap() {
            let expected = text(also, "ks_naf");
            let octets = [text(also, "naf_fqdn").as_bytes(), &octets(also, "ua_protocol_id")].concat();
            let key = kdf::kdf(&ks.0, FC_GBA, &[b"gba-me", &vector.rand.0, impi.as_bytes(), &octets]);
            assert_eq!(hex(&key), expected);
            if also.get("kdf_only").is_some() {
                assert!(NafId::new(text(also, "naf_fqdn"), UaId::MBMS).is_err());
            } else {
                assert_eq!(hex(&kdf::ks_naf(&ks, &vector.rand, impi, &naf(also)).0), expected);
            }
        }
    }
}

#[test]
fn autn_star_hides_the_mac_with_ik() {
    let set = &sets()[1];
    let vector = vector(&set["in"]);
    let star = kdf::autn_star(&vector.autn, &vector.ik);
    assert_eq!(hex(&star.0), text(&set["out"], "autn_star"));
    assert_eq!(hex(&star.mac_a()), text(&set["out"], "mac_star"));
    assert_eq!(kdf::autn_star(&star, &vector.ik), vector.autn);
}
