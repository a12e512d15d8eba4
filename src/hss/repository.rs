//! The broadcast registration as repository data of the HSS (TS 29.328 §6.1.2): what a broadcast server writes over Sh, and
//! what others read there, under the Service-Indication [`SERVICE`].

use super::{BroadcastState, RegState};
use crate::xml::{self, escape};

/// Service-Indication
pub const SERVICE: &str = "bcast-registration";

/// The number that follows on a change (TS 29.328 §6.1.2.1): 0 only where the data are made.
pub fn next(sequence: u16) -> u16 {
    sequence.checked_add(1).unwrap_or(1)
}

/// The element `ServiceData` that says this.
pub fn write(state: &BroadcastState) -> String {
    let BroadcastState { state, server, naf_fqdn, btid } = state;
    let btid = btid.as_ref().map(|btid| format!("<BTid>{}</BTid>", escape(btid))).unwrap_or_default();
    format!(
        "<ServiceData><BcastRegistration><State>{}</State><Server>{}</Server><NafFqdn>{}</NafFqdn>{btid}\
         </BcastRegistration></ServiceData>",
        state.as_str(),
        escape(server),
        escape(naf_fqdn),
    )
}

/// None: the element says no such thing.
pub fn read(service_data: &str) -> Option<BroadcastState> {
    let root = xml::parse(service_data.as_bytes()).ok()?;
    let registration = root.child("BcastRegistration")?;
    let text = |name| registration.text_of(name).map(str::to_owned);
    Some(BroadcastState {
        state: registration.text_of("State").and_then(RegState::parse)?,
        server: text("Server").unwrap_or_default(),
        naf_fqdn: text("NafFqdn").unwrap_or_default(),
        btid: text("BTid").filter(|btid| !btid.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_written() {
        for btid in [None, Some("a+/=@b<".to_owned())] {
            let (server, naf_fqdn) = ("bsm&1".to_owned(), "bsm.home1.net".to_owned());
            let state = BroadcastState { state: RegState::Registered, server, naf_fqdn, btid };
            assert_eq!(read(&write(&state)), Some(state));
        }
        assert_eq!(read("<ServiceData><x/></ServiceData>"), None);
        assert_eq!(read("<ServiceData><BcastRegistration><State>on</State></BcastRegistration></ServiceData>"), None);
        assert_eq!([next(0), next(7), next(u16::MAX)], [1, 8, 1]);
    }
}
