//! The I-CSCF's questions to a foreign HSS (TS 29.228 §6.1.1, §6.1.4).

use super::{RemoteHss, verdict};
use crate::answer::Answer;
use crate::diameter::cx::{Authorization, Lia, Lir, Uaa, Uar};
use crate::diameter::dictionary::{application, command};
use crate::hss::{HssError, Locate, Located};
use crate::identity::{Impi, Impu};

impl Locate for RemoteHss {
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
            let reply = self.ask(application::CX, command::USER_AUTHORIZATION, |writer| uar.write(writer)).await?;
            let answer = reply.message()?;
            verdict::of(&answer)?;
            let Uaa { server, capabilities } = Uaa::read(answer.avps())?;
            Ok(Located::new(server.map(str::to_owned), capabilities))
        })
    }

    fn location_info<'a>(&'a self, impu: &'a Impu, originating: bool) -> Answer<'a, Result<Located, HssError>> {
        Answer::later(async move {
            let lir = Lir { impu: impu.as_str(), originating, kind: None };
            let reply = self.ask(application::CX, command::LOCATION_INFO, |writer| lir.write(writer)).await?;
            let answer = reply.message()?;
            verdict::of(&answer)?;
            let Lia { server, capabilities, .. } = Lia::read(answer.avps())?;
            Ok(Located::new(server.map(str::to_owned), capabilities))
        })
    }
}
