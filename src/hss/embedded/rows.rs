//! Rows of the subscriber database read back into subscribers.

use super::EmbeddedError;
use super::field;
use super::subscriber::{BroadcastRegistration, Credentials, Registration, Stored, StoredSqn, Subscriber};
use crate::aka::{Algorithm, Amf, KeySet};
use crate::auth::digest::Password;
use crate::hss::{BroadcastSubscription, RegState};
use crate::identity::{Impi, Impu};
use rusqlite::{Connection, OptionalExtension, Params, Row};
use std::ops::ControlFlow;

/// One row a public identity, the subscriber's columns repeated.
const QUERY: &str = "
    SELECT s.impi, s.algorithm, s.k, s.opc, s.password, s.sqn_offset, s.sqn_tick, s.amf, s.broadcast,
           r.ims_state, r.ims_since, r.broadcast_state, r.server, r.naf, r.btid, r.broadcast_since, p.impu
    FROM subscriber s JOIN public_identity p ON p.impi = s.impi LEFT JOIN registration r ON r.impi = s.impi";

/// Calls `each` with the subscribers that `filter` lets pass, in order of IMPI. A row that somebody has
/// damaged is reported and left out: it shall not keep the others from service.
pub(super) fn each(
    connection: &Connection,
    filter: &str,
    params: impl Params,
    mut each: impl FnMut(Stored) -> ControlFlow<()>,
) -> Result<(), EmbeddedError> {
    let mut statement = connection.prepare_cached(&format!("{QUERY} {filter} ORDER BY s.impi, p.position"))?;
    let mut rows = statement.query(params)?;
    let mut current: Option<Stored> = None;
    let mut impus: Vec<Impu> = Vec::new();
    let mut damaged: Option<String> = None;
    while let Some(row) = rows.next()? {
        let impi = text(row, 0)?;
        if current.as_ref().is_none_or(|stored| stored.subscriber.impi.as_str() != impi) {
            if finish(current.take(), &mut impus, &mut each).is_break() {
                return Ok(());
            }
            if damaged.as_deref() == Some(impi) {
                continue;
            }
            match stored(row, impi) {
                Ok(stored) => current = Some(stored),
                Err(error) => {
                    tracing::error!(impi, %error, "subscriber left out");
                    damaged = Some(impi.into());
                    continue;
                }
            }
        }
        impus.push(Impu::new(text(row, 16)?));
    }
    let _ = finish(current, &mut impus, &mut each);
    Ok(())
}

fn finish(
    stored: Option<Stored>,
    impus: &mut Vec<Impu>,
    each: &mut impl FnMut(Stored) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(mut stored) = stored else { return ControlFlow::Continue(()) };
    stored.subscriber.impus = impus.drain(..).collect();
    each(stored)
}

/// Keys and SQN of one subscriber, if it exists and is whole.
pub(super) fn credentials(
    connection: &Connection,
    impi: &str,
) -> Result<Option<(Credentials, Option<StoredSqn>)>, EmbeddedError> {
    let mut statement = connection.prepare_cached(
        "SELECT impi, algorithm, k, opc, password, sqn_offset, sqn_tick FROM subscriber WHERE impi = ?1",
    )?;
    let found = statement.query_row([impi], |row| Ok(secrets(row))).optional()?;
    Ok(found.and_then(Result::ok))
}

fn stored(row: &Row<'_>, impi: &str) -> Result<Stored, EmbeddedError> {
    let (credentials, sqn) = secrets(row)?;
    let amf = row.get_ref(7)?.as_blob().ok().and_then(|octets| octets.try_into().ok());
    let subscriber = Subscriber {
        impi: Impi::new(impi),
        impus: [].into(),
        credentials,
        amf: Amf(amf.ok_or(EmbeddedError::Damaged("AMF"))?),
        sqn: None,
        broadcast: broadcast(text(row, 8)?)?,
    };
    Ok(Stored { subscriber, sqn, registration: registration(row)? })
}

fn secrets(row: &Row<'_>) -> Result<(Credentials, Option<StoredSqn>), EmbeddedError> {
    let octets = |column| row.get_ref(column)?.as_blob_or_null().map_err(|_| EmbeddedError::Damaged("key material"));
    let algorithm = match text(row, 1)? {
        "milenage" => Algorithm::Milenage,
        "tuak" => Algorithm::Tuak,
        "digest" => {
            let password = octets(4)?.ok_or(EmbeddedError::Damaged("password"))?;
            return Ok((Credentials::Digest(Password::new(password)), None));
        }
        _ => return Err(EmbeddedError::Damaged("algorithm")),
    };
    let keys = match (octets(2)?, octets(3)?) {
        (Some(k), Some(opc)) => KeySet::from_opc(algorithm, k, opc).ok(),
        _ => None,
    };
    let keys = keys.ok_or(EmbeddedError::Damaged("K or OPc"))?;
    let sqn = match (row.get::<_, Option<i64>>(5)?, unsigned(row, 6)?) {
        (Some(offset), Some(tick)) => Some(StoredSqn { offset, tick }),
        _ => return Err(EmbeddedError::Damaged("SQN")),
    };
    Ok((Credentials::Aka(keys), sqn))
}

/// Nearly all subscribers have everything or nothing: no parsing for them.
fn broadcast(text: &str) -> Result<BroadcastSubscription, EmbeddedError> {
    match text {
        "no" => Ok(BroadcastSubscription::None),
        "yes" => Ok(BroadcastSubscription::All),
        ids => field::broadcast(ids).map_err(|_| EmbeddedError::Damaged("broadcast subscription")),
    }
}

fn registration(row: &Row<'_>) -> Result<Registration, EmbeddedError> {
    let ims = match row.get_ref(9)?.as_str_or_null().unwrap_or_default() {
        None => return Ok(Registration::default()),
        Some(state) => reg_state(state),
    };
    let broadcast = match row.get::<_, Option<String>>(11)? {
        None => None,
        Some(state) => Some(BroadcastRegistration {
            state: reg_state(&state),
            server: row.get::<_, Option<String>>(12)?.unwrap_or_default(),
            naf_fqdn: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
            btid: row.get(14)?,
            since: unsigned(row, 15)?.unwrap_or_default(),
        }),
    };
    Ok(Registration { ims, ims_since: unsigned(row, 10)?, broadcast })
}

fn reg_state(text: &str) -> RegState {
    let all = [RegState::Pending, RegState::Registered, RegState::Failed];
    all.into_iter().find(|state| state.as_str() == text).unwrap_or_default()
}

fn unsigned(row: &Row<'_>, column: usize) -> Result<Option<u64>, EmbeddedError> {
    let value: Option<i64> = row.get(column)?;
    value.map(|value| u64::try_from(value).map_err(|_| EmbeddedError::Damaged("time"))).transpose()
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, EmbeddedError> {
    row.get_ref(column)?.as_str().map_err(|_| EmbeddedError::Damaged("text"))
}
