//! Cryptography of one registration: a vector, a digest, a key for a broadcast server and the request that takes it there.

use super::Case;
use imscript::aka::sqn::Sqn;
use imscript::aka::vector::{Amf, Key128, Rand, Res};
use imscript::aka::{Algorithm as Cipher, KeySet};
use imscript::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use imscript::broadcast::ext::Mode;
use imscript::broadcast::forward::{Forward, KeyPart, ThirdParty};
use imscript::broadcast::identify::Payload;
use imscript::broadcast::keys::KeyDocument;
use imscript::broadcast::peer::{KeyTransport, Peer};
use imscript::gba::btid::Btid;
use imscript::gba::kdf::{Ks, ks_naf};
use imscript::gba::naf_id::{NafId, UaId};
use imscript::hss::BroadcastSubscription;
use imscript::identity::Impu;
use imscript::sip::Message;
use imscript::sip::transaction::{NextHop, Transport};
use std::hint::black_box;

const RAND: Rand = Rand([0x23; 16]);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![vector("Milenage: vector", Cipher::Milenage), vector("TUAK: vector", Cipher::Tuak)];
    cases.extend(
        [
            ("digest: MD5", Algorithm::Md5),
            ("digest: SHA-256", Algorithm::Sha256),
            ("digest: AKAv1-MD5", Algorithm::Akav1Md5),
            ("digest: AKAv2-MD5", Algorithm::Akav2Md5),
            ("digest: AKAv2-SHA-256", Algorithm::Akav2Sha256),
        ]
        .map(|(name, algorithm)| digest(name, algorithm)),
    );
    cases.extend([key(), forward()]);
    cases
}

fn vector(name: &'static str, cipher: Cipher) -> Case {
    let operator: &[u8] = if cipher == Cipher::Tuak { &[0xcd; 32] } else { &[0xcd; 16] };
    let keys = KeySet::from_opc(cipher, &[0x46; 16], operator).expect("keys");
    let sqn = Sqn::from_parts(1000, 0).expect("a sequence number");
    Case::new(name, move || black_box(&keys).generate(RAND, sqn, Amf::IMS))
}

/// The check as the S-CSCF makes it: the password that the vector gives, the digest, the comparison.
fn digest(name: &'static str, algorithm: Algorithm) -> Case {
    fn of(algorithm: Algorithm) -> Digest<'static> {
        Digest {
            algorithm,
            username: b"alice@ims.example",
            realm: b"ims.example",
            method: b"REGISTER",
            uri: b"sip:ims.example",
            nonce: b"dGhpcyBpcyBSQU5EIG9mIDE2b2FuZCBBVVROIG9mIDE=",
            qop: Some(Qop { kind: QopKind::Auth, nc: b"00000001", cnonce: b"abcdef0123456789", body: b"" }),
        }
    }
    let (res, ck, ik) = (Res::new(&[9; 8]), Key128([1; 16]), Key128([2; 16]));
    let held = Password::new(*b"a secret of some length");
    let password = move || match algorithm.is_aka() {
        true => Password::from_aka(algorithm, &res, &ik, &ck),
        false => held.clone(),
    };
    let response = of(algorithm).response(&password()).into_bytes();
    Case::new(name, move || assert!(of(black_box(algorithm)).verify(&password(), &response)))
}

fn naf() -> NafId {
    NafId::new("bsm.ims.example", UaId::MBMS).expect("a NAF")
}

fn key() -> Case {
    let (ks, naf) = (Ks::new(&Key128([1; 16]), &Key128([2; 16])), naf());
    Case::new("Ks_NAF", move || ks_naf(black_box(&ks), &RAND, "alice@ims.example", &naf))
}

/// Figure 7: the key's document and the payload, in a third-party REGISTER.
fn forward() -> Case {
    let trigger = Message::parse(super::sip::REGISTER).expect("a message");
    let peer = Peer {
        name: "bsm".into(),
        uri: "sip:bsm.ims.example".into(),
        hop: NextHop { transport: Transport::Tcp, addr: "127.0.0.1:5070".parse().expect("an address"), tls_name: None },
        naf_fqdns: vec!["bsm.ims.example".into()],
        tls_names: Vec::new(),
        addresses: Vec::new(),
        key_transport: KeyTransport::PlaintextAllowed,
        trusted: true,
        tells_hss: false,
    };
    let (impu, naf, btid) = (Impu::from("sip:alice@ims.example"), naf(), Btid::new(&RAND, "bsf.ims.example"));
    let services = BroadcastSubscription::All;
    let ks = Ks::new(&Key128([1; 16]), &Key128([2; 16]));
    let document = KeyDocument {
        key: ks_naf(&ks, &RAND, "alice@ims.example", &naf),
        expires: 1_800_000_000,
        btid: btid.clone(),
        naf: naf.clone(),
        impus: vec![impu.clone()],
        services: Some(services.clone()),
    };
    let payload = Payload {
        content_type: "application/vnd.oma.bcast.sprov+xml".into(),
        octets: b"<ServiceRequest requestID=\"1\"><PurchaseItem globalIDRef=\"urn:a\"/></ServiceRequest>".to_vec(),
    };
    let mut dialog = ThirdParty::resumed("forwarding@ims.example", 1);
    Case::new("forward: key and payload", move || {
        let forward = Forward {
            peer: black_box(&peer),
            scscf: "sip:scscf.ims.example",
            impu: &impu,
            naf: &naf,
            btid: Some(&btid),
            mode: Mode::Simultaneous,
            key: KeyPart::Included(&document),
            profile: Some("1.0"),
            payload: Some(&payload),
            expires: 600,
            services: Some(&services),
            trigger: Some(&trigger),
        };
        forward.request(&mut dialog).expect("a key may go there")
    })
}
