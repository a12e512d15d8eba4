//! stub until merged
use super::*;
pub struct EmbeddedHss;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OpenError;
impl EmbeddedHss {
    pub fn open(_: &std::path::Path, _: u8, _: Now) -> Result<std::sync::Arc<Self>, OpenError> {
        unimplemented!()
    }
    pub fn close(&self) {}
    pub fn refresh_if_changed(&self) {}
}
impl Hss for EmbeddedHss {
    fn multimedia_auth<'a>(
        &'a self,
        _: &'a Impi,
        _: &'a Impu,
        _: AuthScheme,
        _: Option<(Rand, Auts)>,
        _: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        unimplemented!()
    }
    fn server_assignment<'a>(
        &'a self,
        _: &'a Impi,
        _: &'a Impu,
        _: Assignment,
        _: Now,
    ) -> Answer<'a, Result<Profile, HssError>> {
        unimplemented!()
    }
    fn broadcast_subscription<'a>(&'a self, _: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>> {
        unimplemented!()
    }
    fn broadcast_update<'a>(&'a self, _: &'a Impu, _: BroadcastState, _: Now) -> Answer<'a, Result<(), HssError>> {
        unimplemented!()
    }
    fn private_identity<'a>(&'a self, _: &'a Impu) -> Answer<'a, Result<Impi, HssError>> {
        unimplemented!()
    }
}
