//! What a worker holds by the books, for those who look when it does not say so itself. Reads only; who reaps is the
//! scripts' business.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number, text, texts};

/// A claim in a worker's hands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldClaim {
    /// Its fence.
    pub fence: u64,
    /// Job id.
    pub job: String,
    /// Tasks of it that have not ended.
    pub left: u32,
    /// Redis time at which its lease ends, ms.
    pub until_ms: u64,
}

impl Store {
    /// What a worker holds.
    ///
    /// # Errors
    /// The server's.
    pub async fn held(&self, worker: &str) -> Result<Vec<HeldClaim>, StoreError> {
        let answer = self.read("held", redis::pipe().cmd("SMEMBERS").arg(self.keys().held(worker))).await?;
        let fences = answer.into_iter().next().map(texts).unwrap_or_default();
        let mut pipe = redis::pipe();
        for fence in &fences {
            pipe.cmd("HMGET").arg(self.keys().claim(fence)).arg("j").arg("left");
            pipe.cmd("ZSCORE").arg(self.keys().lease()).arg(fence);
        }
        let answers = self.read("held", &pipe).await?;
        let claim = |(fence, pair): (&String, &[redis::Value])| {
            let [fields, lease] = pair else { return None };
            let fields = list(fields.clone());
            let until: f64 = text(lease).parse().ok()?;
            Some(HeldClaim {
                fence: fence.parse().ok()?,
                job: fields.first().map(text)?,
                left: fields.get(1).map(number)?,
                until_ms: crate::heads::whole(until),
            })
        };
        Ok(fences.iter().zip(answers.chunks(2)).filter_map(claim).collect())
    }
}
