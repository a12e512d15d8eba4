//! Zn (TS 29.109 §5.2): a NAF asks the BSF for the key of a B-TID. BIR and BIA as values, for both sides: the BSF reads the
//! one and writes the other, the broadcast server's retrieval module does the reverse.

use super::dictionary::{
    BOOTSTRAPINFOCREATIONTIME, GAA_SERVICE_IDENTIFIER, GBA_TYPE, GBA_U_AWARENESS_INDICATOR, GBA_USERSECSETTINGS,
    KEY_EXPIRYTIME, ME_KEY_MATERIAL, NAF_ID, PRIVATE_IDENTITY_REQUEST, TRANSACTION_IDENTIFIER, UICC_KEY_MATERIAL,
    USER_NAME,
};
use super::{Avp, Fault, Message, Writer};
use crate::gba::btid::{Btid, BtidError};
use crate::gba::guss::{Guss, GussError};
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::{NafId, NafIdError};
use crate::identity::Impi;
use std::time::Duration;

/// GAA-Service-Identifiers that one request may hold.
const SERVICES_MAX: usize = 16;

/// A sound message that says nothing on Zn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Btid(#[from] BtidError),
    #[error(transparent)]
    Naf(#[from] NafIdError),
    #[error(transparent)]
    Settings(#[from] GussError),
}

/// BIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoRequest {
    pub btid: Btid,
    pub naf: NafId,
    /// GAA-Service-Identifiers of the settings that are asked for.
    pub services: Vec<String>,
    /// The NAF can do with Ks_int_NAF.
    pub gba_u_aware: bool,
    /// The NAF does without the private identity.
    pub without_identity: bool,
}

impl InfoRequest {
    pub fn write(&self, writer: &mut Writer) {
        for service in self.services.iter().take(SERVICES_MAX) {
            writer.text(&GAA_SERVICE_IDENTIFIER, service);
        }
        writer.text(&TRANSACTION_IDENTIFIER, &self.btid.text()).octets(&NAF_ID, &self.naf.octets());
        if self.gba_u_aware {
            writer.enumerated(&GBA_U_AWARENESS_INDICATOR, 1);
        }
        if self.without_identity {
            writer.enumerated(&PRIVATE_IDENTITY_REQUEST, 1);
        }
    }

    pub fn read(message: &Message<'_>) -> Result<Self, Unread> {
        let avps = message.avps();
        // What must be there is looked for before what is in it.
        let btid = avps.require(&TRANSACTION_IDENTIFIER)?;
        let naf = avps.require(&NAF_ID)?;
        let services = avps.all(&GAA_SERVICE_IDENTIFIER).take(SERVICES_MAX);
        Ok(InfoRequest {
            services: services.map(|avp| avp.text().map(str::to_owned)).collect::<Result<_, _>>()?,
            gba_u_aware: avps.enumerated(&GBA_U_AWARENESS_INDICATOR)? == Some(1),
            without_identity: avps.enumerated(&PRIVATE_IDENTITY_REQUEST)? == Some(1),
            btid: Btid::parse(btid.text().unwrap_or_default())?,
            naf: NafId::from_octets(naf.data)?,
        })
    }
}

/// BIA of success. Debug is redacted by the keys' own type.
#[derive(Debug, Clone)]
pub struct InfoAnswer {
    /// The private identity, if the NAF may know it.
    pub user: Option<Impi>,
    /// Ks_NAF; in GBA_U Ks_ext_NAF.
    pub me_key: KsNaf,
    /// Ks_int_NAF.
    pub uicc_key: Option<KsNaf>,
    /// Seconds since 1970.
    pub expires: Option<u64>,
    pub created: Option<u64>,
    pub settings: Option<Guss>,
}

impl InfoAnswer {
    pub fn write(&self, writer: &mut Writer) {
        if let Some(user) = &self.user {
            writer.text(&USER_NAME, user.as_str());
        }
        writer.octets(&ME_KEY_MATERIAL, &self.me_key.0);
        if let Some(key) = &self.uicc_key {
            writer.octets(&UICC_KEY_MATERIAL, &key.0);
        }
        for (def, time) in [(&KEY_EXPIRYTIME, self.expires), (&BOOTSTRAPINFOCREATIONTIME, self.created)] {
            if let Some(time) = time {
                writer.time(def, Duration::from_secs(time));
            }
        }
        if let Some(settings) = &self.settings {
            writer.octets(&GBA_USERSECSETTINGS, &settings.to_xml());
        }
        // 3G GBA: a bootstrapping with AKA is all there is.
        writer.enumerated(&GBA_TYPE, 0);
    }

    pub fn read(message: &Message<'_>) -> Result<Self, Unread> {
        let avps = message.avps();
        let key = |avp: Avp<'_>| <[u8; 32]>::try_from(avp.data).map(KsNaf).map_err(|_| avp.bad_value());
        let time = |def| avps.get(def).map(|avp| avp.time().map(|time| time.as_secs())).transpose();
        Ok(InfoAnswer {
            user: avps.text(&USER_NAME)?.map(Impi::from),
            me_key: key(avps.require(&ME_KEY_MATERIAL)?)?,
            uicc_key: avps.get(&UICC_KEY_MATERIAL).map(key).transpose()?,
            expires: time(&KEY_EXPIRYTIME)?,
            created: time(&BOOTSTRAPINFOCREATIONTIME)?,
            settings: avps.octets(&GBA_USERSECSETTINGS).map(Guss::parse).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aka::vector::{Key128, Rand};
    use crate::gba::kdf::{Ks, ks_naf};

    fn golden(name: &str) -> Vec<u8> {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/diameter.json")).unwrap();
        let hex = file["messages"][name].as_str().unwrap().as_bytes().to_vec();
        hex.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn golden_messages_of_zn() {
        let octets = golden("Zn-BIR");
        let asked = InfoRequest::read(&Message::parse(&octets).unwrap()).unwrap();
        let domain = "bsf.mnc001.mcc001.pub.3gppnetwork.org";
        assert_eq!(asked.btid.bsf_domain(), domain);
        let octets = golden("Zn-BIA");
        let info = InfoAnswer::read(&Message::parse(&octets).unwrap()).unwrap();
        let key = |octets: u128| Key128(octets.to_be_bytes());
        let ks = Ks::new(&key(0xb40ba9a3c58b2a05bbf0d987b21bf8cb), &key(0xf769bcd751044604127672711c6d3441));
        let rand = Rand(0x23553cbe9637a89d218ae64dae47bf35u128.to_be_bytes());
        let impi = "001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
        assert_eq!(asked.btid, Btid::new(&rand, domain));
        assert_eq!(info.me_key.0, ks_naf(&ks, &rand, impi, &asked.naf).0);
        assert_eq!(info.expires, Some(0xed00_3780 - 2_208_988_800));
    }
}
