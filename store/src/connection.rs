//! The one file that survives Redis: killed connections, a restarted server, NOSCRIPT, READONLY, half-open sockets.
//!
//! The crate's traps (`500 ms` default timeout, no reconnect on READONLY or timeout, dropped futures) are met here
//! and nowhere else. A call that may have been applied is simply made again: every script is idempotent. A broken
//! link is rebuilt under a generation number, so that many callers rebuild it once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError, Value};
use tokio::sync::Mutex;

use crate::error::StoreError;
use crate::keys::{Keys, check_farm};
use crate::refusal::{denial, plain};
use crate::reply::{list, text};
use crate::scripts::{Name, ScriptSet};

const SCHEMA: u32 = 1;
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// How to reach a farm.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `redis://`, `rediss://` or `unix://`.
    pub url: String,
    /// The farm's name.
    pub farm: String,
    /// How long a call keeps trying while the server is away.
    pub patience: Duration,
    /// How long one answer may take before the link counts as broken.
    pub response: Duration,
}

impl ConnectOptions {
    /// Options with a patience of 30 s and 5 s for an answer.
    #[must_use]
    pub fn new(url: impl Into<String>, farm: impl Into<String>) -> Self {
        Self { url: url.into(), farm: farm.into(), patience: Duration::from_secs(30), response: Duration::from_secs(5) }
    }
}

struct Link {
    connection: Option<MultiplexedConnection>,
    generation: u64,
    run_id: String,
}

struct Inner {
    client: Client,
    at: String,
    options: ConnectOptions,
    keys: Keys,
    scripts: Arc<ScriptSet>,
    link: Mutex<Link>,
    runs: AtomicU64,
}

/// A farm. Clones share one connection.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    patience: Duration,
}

impl Store {
    /// Connects and checks that the server will do (version, eviction, schema).
    ///
    /// # Errors
    /// Every [`StoreError`] that speaks of the server. The first connection does not wait for a server that refuses.
    pub async fn connect(options: ConnectOptions) -> Result<Self, StoreError> {
        Self::connect_with(options, Arc::new(ScriptSet::default())).await
    }

    /// As [`Store::connect`], with scripts of the caller's (tests).
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn connect_with(options: ConnectOptions, scripts: Arc<ScriptSet>) -> Result<Self, StoreError> {
        check_farm(&options.farm)?;
        let at = public_address(&options.url);
        let client = open_client(&options.url).map_err(|e| StoreError::Address { at: at.clone(), why: plain(&e) })?;
        let keys = Keys::new(&options.farm);
        let link = Mutex::new(Link { connection: None, generation: 0, run_id: String::new() });
        let patience = options.patience;
        let store = Self {
            patience,
            inner: Arc::new(Inner { client, at, options, keys, scripts, link, runs: AtomicU64::new(0) }),
        };
        store.link().await?;
        Ok(store)
    }

    /// A store on the same farm with a connection and a patience of its own.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn another(&self, patience: Duration) -> Result<Self, StoreError> {
        let options = ConnectOptions { patience, ..self.inner.options.clone() };
        Self::connect_with(options, self.inner.scripts.clone()).await
    }

    /// The same store with another patience.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self { inner: self.inner.clone(), patience }
    }

    /// The server's address without its password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.at
    }

    /// How many runs of the server this store has met: it rises when a restarted server may have forgotten its last
    /// second.
    #[must_use]
    pub fn server_runs(&self) -> u64 {
        self.inner.runs.load(Ordering::Relaxed)
    }

    /// The farm's name.
    #[must_use]
    pub fn farm(&self) -> &str {
        &self.inner.options.farm
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Calls a script until it answers, within the patience.
    pub(crate) async fn call(&self, name: Name, args: &[&[u8]]) -> Result<Value, StoreError> {
        let script = self.inner.scripts.get(name);
        let mut call = redis::cmd("EVALSHA");
        call.arg(script.get_hash()).arg(1).arg(self.inner.keys.meta());
        for arg in args {
            call.arg(*arg);
        }
        self.persist(name.word(), &Request::Script(script, call)).await
    }

    /// Runs plain reads as one pipeline, within the patience.
    pub(crate) async fn read(&self, what: &str, pipe: &redis::Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipe.is_empty() {
            return Ok(Vec::new());
        }
        Ok(list(self.persist(what, &Request::Reads(pipe)).await?))
    }

    async fn persist(&self, what: &str, request: &Request<'_>) -> Result<Value, StoreError> {
        let deadline = Instant::now() + self.patience;
        let mut pause = RETRY;
        loop {
            let failed = match self.link().await {
                Ok((connection, generation)) => match request.attempt(connection).await {
                    Ok(value) => return Ok(value),
                    Err(e) => self.judge(what, e, generation).await?,
                },
                Err(e) if e.is_outage() => e,
                Err(e) => return Err(e),
            };
            if Instant::now() + pause > deadline {
                return Err(failed);
            }
            tracing::debug!(what, error = %failed, "redis is away, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// `Ok`: worth another try on a new link. `Err`: final.
    async fn judge(&self, what: &str, error: RedisError, generation: u64) -> Result<StoreError, StoreError> {
        let at = self.inner.at.clone();
        match error.code() {
            Some("OOM") => return Err(StoreError::Full { at }),
            Some("NOAUTH" | "WRONGPASS") => return Err(StoreError::Auth { at, why: plain(&error) }),
            _ if denial(&error).is_some() => return Err(self.refusal(&error)),
            // the server lives but cannot serve now: another link may lead to one that can
            Some(
                "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "UNKILLABLE" | "MISCONF"
                | "NOSCRIPT",
            ) => {}
            _ if error.is_io_error()
                || error.is_timeout()
                || error.is_connection_dropped()
                || error.is_unrecoverable_error() => {}
            _ => return Err(StoreError::Script { at, script: what.to_owned(), why: plain(&error) }),
        }
        self.discard(generation).await;
        Ok(StoreError::Unreachable { at, why: plain(&error) })
    }

    async fn discard(&self, generation: u64) {
        let mut link = self.inner.link.lock().await;
        if link.generation == generation {
            link.connection = None;
        }
    }

    async fn link(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let mut link = self.inner.link.lock().await;
        if let Some(connection) = &link.connection {
            return Ok((connection.clone(), link.generation));
        }
        let mut connection = self.dial().await?;
        let run_id = self.greet(&mut connection).await?;
        if link.run_id != run_id {
            link.run_id = run_id;
            self.inner.runs.fetch_add(1, Ordering::Relaxed);
        }
        link.generation += 1;
        link.connection = Some(connection.clone());
        Ok((connection, link.generation))
    }

    async fn dial(&self) -> Result<MultiplexedConnection, StoreError> {
        let response = self.inner.options.response;
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(response)).set_connection_timeout(Some(response));
        self.inner.client.get_multiplexed_async_connection_with_config(&config).await.map_err(|e| self.refusal(&e))
    }

    /// Checks the server behind a fresh connection and notes its run id, before anything else is said on it.
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<String, StoreError> {
        let at = self.inner.at.clone();
        let info: String =
            redis::cmd("INFO").arg("everything").query_async(connection).await.map_err(|e| self.refusal(&e))?;
        let field = |name: &str| {
            info.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or("").trim().to_owned()
        };
        let version = field("redis_version");
        let major = version.split('.').next().and_then(|m| m.parse::<u32>().ok());
        if major.is_none_or(|m| m < 7) && field("server_name") != "valkey" {
            return Err(StoreError::TooOld { at, version });
        }
        let policy = field("maxmemory_policy");
        if policy != "noeviction" && !policy.is_empty() {
            return Err(StoreError::Evicting { at, policy });
        }
        let run_id = field("run_id");
        let script = self.inner.scripts.get(Name::Hello);
        let answer: Value = script
            .prepare_invoke()
            .key(self.inner.keys.meta())
            .arg(&run_id)
            .arg(SCHEMA)
            .invoke_async(connection)
            .await
            .map_err(|e| self.refusal(&e))?;
        let answer = list(answer);
        match answer.first().map(text).as_deref() {
            Some("ESCHEMA") => {
                let found = answer.get(2).map(text).unwrap_or_default();
                Err(StoreError::Schema { at, farm: self.inner.options.farm.clone(), found, ours: SCHEMA })
            }
            _ => Ok(run_id),
        }
    }
}

/// What is tried until it is answered.
enum Request<'a> {
    Script(&'a redis::Script, redis::Cmd),
    Reads(&'a redis::Pipeline),
}

impl Request<'_> {
    async fn attempt(&self, mut connection: MultiplexedConnection) -> Result<Value, RedisError> {
        match self {
            Self::Reads(pipe) => pipe.query_async(&mut connection).await,
            Self::Script(script, call) => match call.query_async(&mut connection).await {
                Err(e) if e.code() == Some("NOSCRIPT") => {
                    script.prepare_invoke().load_async(&mut connection).await?;
                    call.query_async(&mut connection).await
                }
                other => other,
            },
        }
    }
}

fn open_client(url: &str) -> Result<Client, RedisError> {
    // `redis://` and `rediss://` as the crate reads them; a quick death for a half-open socket
    let info = url.into_connection_info()?;
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(Duration::from_secs(10));
    // rustls wants one process-wide provider; a second call is harmless
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::open(info.set_tcp_settings(tcp))
}

/// A server's address without user and password.
fn public_address(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let colon = if scheme.is_empty() { "" } else { "://" };
    // only of a socket are user and password behind the path, which may have an `@` of its own
    let place = if scheme.contains("unix") { rest } else { rest.rsplit_once('@').map_or(rest, |(_, place)| place) };
    format!("{scheme}{colon}{}", place.split('?').next().unwrap_or(place))
}

#[cfg(test)]
mod tests {
    use super::public_address;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://me:secret@host:6379/0", "redis://host:6379/0"),
            ("unix:///run/r.sock?db=1&pass=x@y", "unix:///run/r.sock"),
            ("redis+unix:///run/a@b.sock?pass=x", "redis+unix:///run/a@b.sock"),
            ("redis://me:sec?ret@host", "redis://host"),
            ("redis://me:sec@ret@host?protocol=resp3", "redis://host"),
            ("me:secret@host", "host"),
            ("redis://host", "redis://host"),
        ] {
            assert_eq!(public_address(url), shown);
        }
    }
}
