//! The questions of an I-CSCF on this same node: answered as those of a foreign one are.

use super::cx::Found;
use super::{HssServer, Refusal};
use crate::answer::Answer;
use crate::diameter::cx::{Authorization, Lir, Uar};
use crate::hss::remote::verdict::error_of;
use crate::hss::{HssError, Locate, Located};
use crate::identity::{Impi, Impu};

impl Locate for HssServer {
    fn user_authorization<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        visited_network: &'a str,
        kind: Authorization,
    ) -> Answer<'a, Result<Located, HssError>> {
        Answer::later(async move {
            let visited_network = visited_network.as_bytes();
            let uar = Uar { impi: impi.as_str(), impu: impu.as_str(), visited_network, kind, emergency: false };
            located(self.authorize(&uar).await)
        })
    }

    fn location_info<'a>(&'a self, impu: &'a Impu, originating: bool) -> Answer<'a, Result<Located, HssError>> {
        Answer::later(async move { located(self.locate(&Lir { impu: impu.as_str(), originating, kind: None }).await) })
    }
}

fn located(found: Result<Found<'_>, Refusal>) -> Result<Located, HssError> {
    match found {
        Ok(found) => Ok(Located::new(found.server, found.capabilities)),
        Err(Refusal::Code(code)) => Err(error_of(code)),
        Err(Refusal::Fault(fault)) => Err(fault.into()),
    }
}
