//! Loads, on a connection of their own: they wait neither for a commit nor for the log.

use super::State;
use super::file::Place;
use super::rows::{self, Fault};
use super::time::Time;
use crate::store::{Entity, Key, StoreError};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tokio::sync::oneshot;

pub(super) type Load = (Vec<Key>, oneshot::Sender<Result<Vec<Entity>, StoreError>>);

pub(super) struct Reader {
    pub(super) place: Place,
    pub(super) time: Arc<Time>,
    pub(super) state: Arc<State>,
    /// None: it has failed and is opened anew before it is used again.
    pub(super) connection: Option<Connection>,
}

impl Reader {
    /// Ends when nobody can ask any more.
    pub(super) fn run(mut self, asked: Receiver<Load>) {
        for (keys, asker) in asked {
            let found = self.load(&keys);
            self.state.reads(found.as_ref().err().filter(|error| matches!(error, StoreError::Away(_))));
            // Who does not wait any more need not be told.
            let _ = asker.send(found);
        }
    }

    fn load(&mut self, keys: &[Key]) -> Result<Vec<Entity>, StoreError> {
        let now = self.time.present();
        let mut attempt = || {
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.place.reading()?,
            };
            let tx = connection.unchecked_transaction()?;
            let found = rows::load(&tx, keys, now);
            tx.commit()?;
            if !matches!(found, Err(Fault::Sqlite(_))) {
                self.connection = Some(connection);
            }
            found
        };
        attempt().map_err(away)
    }
}

pub(super) fn away(fault: Fault) -> StoreError {
    match fault {
        Fault::Call(error) => error,
        Fault::Sqlite(error) => StoreError::Away(error.to_string().into()),
    }
}
