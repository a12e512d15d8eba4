//! Several applications behind one node (rank 1): each request goes to who serves its application.

use super::exchange::{Request, Serve};
use super::write::Writer;
use crate::answer::Answer;
use std::sync::Arc;

/// In the order in which they were added; of two that serve the same application the first has it.
#[derive(Default)]
pub struct Applications(Vec<(u32, Arc<dyn Serve>)>);

impl Applications {
    pub fn add(&mut self, serve: Arc<dyn Serve>) {
        for id in serve.applications() {
            if self.of(id).is_none() {
                self.0.push((id, serve.clone()));
            }
        }
    }

    fn of(&self, application: u32) -> Option<&Arc<dyn Serve>> {
        self.0.iter().find(|(id, _)| *id == application).map(|(_, serve)| serve)
    }
}

impl Serve for Applications {
    fn applications(&self) -> Vec<u32> {
        self.0.iter().map(|(id, _)| *id).collect()
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        let application = request.message().map(|message| message.header().application);
        match application.ok().and_then(|id| self.of(id)) {
            Some(serve) => serve.clone().serve(request),
            None => Answer::now(None),
        }
    }
}
