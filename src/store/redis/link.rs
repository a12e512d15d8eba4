//! One connection to one server.

use super::address::{Address, Login};
use super::ask::{SCRIPTS, Shas};
use crate::clock::Clock;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Until a server has taken a connection.
const CONNECT: Duration = Duration::from_millis(200);
/// Until it has let us in, with TLS and all.
const ENTER: Duration = Duration::from_millis(500);

/// It ends with its value.
pub(super) struct Link {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What a server says of itself.
pub(super) struct Greeting {
    /// Another after a restart, and after it was a replica meanwhile.
    pub(super) identity: String,
    pub(super) shas: Shas,
}

/// A server's clock against ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Microseconds since 1970 at our `mono` 0.
    pub(super) offset: i64,
    pub(super) trip: Duration,
    /// When, by our clock.
    pub(super) at: Duration,
}

impl Link {
    pub(super) async fn dial(login: &Login, to: &Address) -> Result<Link, Arc<str>> {
        let tcp = match timeout(CONNECT, TcpStream::connect(to.endpoint())).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Err(why.to_string().into()),
            Err(_) => return Err("no connection within 200 ms".into()),
        };
        let _ = tcp.set_nodelay(true); // else only slower
        let enter = async {
            match (&login.tls, to.server_name()) {
                (None, _) => Self::enter(login, tcp).await,
                (Some(_), None) => Err("its host is none that a certificate can name".into()),
                (Some(tls), Some(name)) => {
                    let stream = TlsConnector::from(tls.clone()).connect(name, tcp).await;
                    Self::enter(login, stream.map_err(|why| Arc::from(why.to_string()))?).await
                }
            }
        };
        timeout(ENTER, enter).await.unwrap_or_else(|_| Err("no answer within 500 ms".into()))
    }

    async fn enter<S>(login: &Login, stream: S) -> Result<Link, Arc<str>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Time limits are the caller's, who knows what waits behind.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&login.settings, stream, config).await;
        let (connection, driver) = made.map_err(|why| Arc::from(why.to_string()))?;
        Ok(Link { connection, driver: tokio::task::spawn_local(driver) })
    }

    /// A reply for each command, errors of the server among them.
    pub(super) async fn exchange(&self, commands: &Pipeline) -> Result<Vec<Value>, Arc<str>> {
        let count = commands.len();
        let mut connection = self.connection.clone();
        let replies = connection.send_packed_commands(commands, 0, count).await;
        let replies = replies.map_err(|why| Arc::from(why.to_string()))?;
        if replies.len() == count { Ok(replies) } else { Err("replies are missing".into()) }
    }

    /// Returns when the connection is no more.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.driver).await; // however it ended
    }

    /// Whether it is no more.
    pub(super) fn is_over(&self) -> bool {
        self.driver.is_finished()
    }

    pub(super) async fn greet(&self) -> Result<Greeting, Arc<str>> {
        let mut commands = Pipeline::new();
        commands.cmd("INFO").arg("server").cmd("INFO").arg("replication");
        for script in SCRIPTS {
            commands.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let replies = timeout(ENTER, self.exchange(&commands)).await;
        let replies = replies.unwrap_or_else(|_| Err("no answer within 500 ms".into()))?;
        let mut texts = replies.iter().map(text);
        let mut next = || texts.next().unwrap_or_else(|| Err("replies are missing".into()));
        let (server, replication) = (next()?, next()?);
        let field = |text: &str, name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
                .unwrap_or_default()
        };
        let identity = format!("{} {}", field(&server, "run_id"), field(&replication, "master_replid"));
        Ok(Greeting { identity, shas: [next()?, next()?, next()?] })
    }

    /// Asks what time it is there, and more.
    pub(super) async fn read_clock(&self, clock: &Clock, also: Pipeline) -> Result<(Reading, Vec<Value>), Arc<str>> {
        let mut commands = Pipeline::new();
        commands.cmd("TIME");
        for command in also.cmd_iter() {
            commands.add_command(command.clone());
        }
        let before = clock.now().mono;
        let mut replies = self.exchange(&commands).await?;
        let trip = clock.now().mono.saturating_sub(before);
        let rest = replies.split_off(1);
        let number = |part: Option<&Value>| part.and_then(|part| text(part).ok()?.parse::<i64>().ok());
        match replies.first() {
            Some(Value::Array(parts)) => match (number(parts.first()), number(parts.get(1))) {
                (Some(seconds), Some(micros)) => {
                    let there = seconds.saturating_mul(1_000_000).saturating_add(micros);
                    let here = i64::try_from((before + trip / 2).as_micros()).unwrap_or(i64::MAX);
                    Ok((Reading { offset: there.saturating_sub(here), trip, at: before }, rest))
                }
                _ => Err("it does not say what time it is".into()),
            },
            Some(other) => Err(text(other).err().unwrap_or_else(|| "it does not say what time it is".into())),
            None => Err("replies are missing".into()),
        }
    }
}

/// A reply that is a text; an error of the server is one.
pub(super) fn text(value: &Value) -> Result<String, Arc<str>> {
    match value {
        Value::BulkString(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        Value::SimpleString(text) => Ok(text.clone()),
        Value::VerbatimString { text, .. } => Ok(text.clone()),
        Value::ServerError(error) => Err(format!("{} {}", error.code(), error.details().unwrap_or_default()).into()),
        _ => Err("it is no text".into()),
    }
}
