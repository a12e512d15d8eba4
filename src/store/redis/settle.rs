//! What becomes of a pipeline that was answered: each reply to who asked for it, and what was refused for a reason that
//! another try can mend once more into a queue, in its order.

use super::ask::{Ask, Refusal};
use super::node::Node;
use super::shards::Shards;
use crate::store::StoreError;
use redis::Value;
use std::rc::Rc;

impl Node {
    /// True: the server has lost the scripts, and what needs them waits in the queue for them to be given again.
    pub(super) fn settle(&self, shards: &Rc<Shards>, batch: Vec<Ask>, replies: Vec<Value>) -> bool {
        let mut replies = replies.into_iter();
        let (mut again, mut onward) = (Vec::new(), Vec::new());
        let (mut unscripted, mut overtaken, mut wrote) = (false, false, false);
        for mut ask in batch {
            if ask.asking {
                replies.next(); // of ASKING
            }
            let Some(reply) = replies.next() else {
                ask.fail(self.away());
                continue;
            };
            let Value::ServerError(error) = reply else {
                if unscripted && ask.reads() && !ask.tried {
                    // It may have been to show what a change before it does, which is not made yet.
                    ask.tried = true;
                    again.push(ask);
                } else {
                    overtaken |= unscripted && !ask.reads();
                    wrote |= !ask.reads();
                    ask.answer(reply);
                }
                continue;
            };
            match ask.refusal(&error, &self.address) {
                Refusal::NoScript if !ask.tried => {
                    unscripted = true;
                    ask.tried = true;
                    again.push(ask);
                }
                Refusal::NoScript => ask.fail(StoreError::Away("the server forgets its scripts".into())),
                Refusal::Elsewhere { address: Some(address), asking }
                    if ask.reads() || ask.table == shards.version() =>
                {
                    ask.tried = true;
                    ask.asking = asking;
                    onward.push((ask, address));
                    if !asking {
                        shards.alarm.notify_one();
                    }
                }
                // What came later may have been made at the other shard already.
                Refusal::Elsewhere { .. } => ask.fail(StoreError::Away("its shard has changed".into())),
                Refusal::Error(error) => {
                    if let StoreError::Unwritable(why) = &error {
                        let known = self.unwritable.replace(Some(why.clone()));
                        if known.is_none() {
                            tracing::warn!("store: {} cannot be written: {why}", self.address);
                            shards.publish();
                        }
                    }
                    ask.fail(error);
                }
            }
        }
        if overtaken {
            // Somebody else gave it the scripts in between: a later change is made, an earlier one must not follow it.
            let (reads, lost): (Vec<_>, Vec<_>) = again.into_iter().partition(Ask::reads);
            again = reads;
            for ask in lost {
                ask.fail(StoreError::Away("the server had lost its scripts".into()));
            }
        }
        self.push_front(again);
        for (ask, address) in onward {
            shards.send_on(ask, address);
        }
        if wrote && self.unwritable.take().is_some() {
            tracing::info!("store: {} can be written again", self.address);
            shards.publish();
        }
        unscripted
    }
}
