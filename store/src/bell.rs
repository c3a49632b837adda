//! The doorbell: idle workers block here, on tokens that carry no data, never on tasks.
//!
//! A blocked call has a connection of its own, which is dropped on any error: the crate neither cancels a blocked
//! call on the server nor outlives it otherwise.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};

use crate::connection::Store;

/// Waits for wake tokens of one profile of labels.
pub struct Bell {
    store: Store,
    key: String,
    connection: Option<MultiplexedConnection>,
}

impl Bell {
    /// The bell of a worker with these canonical labels.
    #[must_use]
    pub fn new(store: &Store, labels: &str) -> Self {
        Self { store: store.clone(), key: store.keys().bell(labels), connection: None }
    }

    /// Waits until the bell rings (`true`) or `wait` is over (`false`). While the server is away it just waits.
    pub async fn wait(&mut self, wait: Duration) -> bool {
        let started = std::time::Instant::now();
        match self.block(wait).await {
            Ok(rung) => rung,
            Err(error) => {
                tracing::debug!(%error, "bell");
                self.connection = None;
                tokio::time::sleep(wait.saturating_sub(started.elapsed()).min(Duration::from_secs(1))).await;
                false
            }
        }
    }

    async fn block(&mut self, wait: Duration) -> Result<bool, redis::RedisError> {
        // taken out while it is blocked: if this future is dropped, so is the connection
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dial().await?,
        };
        let seconds = wait.as_secs_f64().clamp(0.01, 10.0);
        let answer: Value = redis::cmd("BLPOP").arg(&self.key).arg(seconds).query_async(&mut connection).await?;
        self.connection = Some(connection);
        Ok(answer != Value::Nil)
    }

    async fn dial(&self) -> Result<MultiplexedConnection, redis::RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(Duration::from_secs(11)))
            .set_connection_timeout(Some(Duration::from_secs(5)));
        self.store.client().get_multiplexed_async_connection_with_config(&config).await
    }
}
