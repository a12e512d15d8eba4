//! A REGISTER without a challenge: the policy takes the terminal's word (verdict `trust`). It stands in for
//! [`super::authenticate`]: nobody has shown anything, so there is no Ks and nothing goes to a broadcast server.

use super::authenticate::{Authenticated, Remembered, refusal_of};
use super::register::Asked;
use super::registration::Plan;
use super::scscf::{Refusal, Scscf};
use crate::broadcast::identify::Portion;

impl Scscf {
    /// What is left of authentication: the HSS lets the user in from there. That it knows him, and that the public identity is
    /// his, comes out with the assignment; a question changes nothing and has none, so it is about a registered user.
    pub(super) async fn trusted(
        &self,
        asked: &Asked<'_>,
        plan: &Plan<'_>,
        portion: Option<Portion>,
    ) -> Result<Authenticated, Refusal> {
        let visited = asked.visited_network.as_deref();
        let allowed = self.shared.hss.authorize(&asked.impi, &asked.impu, visited, asked.entry, self.now()).await;
        allowed.map_err(refusal_of)?;
        let is_known = || self.shared.table.with(asked.impi.as_str(), |r| r.is_some_and(|r| r.has(&asked.impu)));
        if matches!(plan, Plan::Query) && !is_known() {
            return Err(Refusal::because(404, "not registered"));
        }
        let portion = match portion {
            Some(Portion { all_or_nothing: true, .. }) => {
                return Err(Refusal::because(403, "a broadcast registration needs authentication"));
            }
            portion => portion.map(|_| Remembered::Unproven),
        };
        tracing::debug!(impi = %asked.impi, "taken at its word by the policy");
        Ok(Authenticated { secret: None, portion, info: None, keys_sent: false })
    }
}
