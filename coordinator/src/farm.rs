//! The farm that the verbs about jobs ask: the connection, and jobs by what people type for them.

use remuda_store::{ConnectOptions, JobHead, Store};

use crate::cli::Global;
use crate::commands::Context;
use crate::config::Layer;
use crate::error::Error;
use crate::job::place;

/// What stands for the latest of one's own jobs.
pub const LATEST: &str = "latest";

/// A farm.
pub struct Farm {
    /// Its store.
    pub store: Store,
    /// Merged settings.
    pub settings: Layer,
}

impl Farm {
    /// Connects to the farm that flags, variables or files name.
    ///
    /// # Errors
    /// None is named, or it cannot be used.
    pub async fn connect(global: &Global) -> Result<Self, Error> {
        let context = Context::new()?;
        Self::of(context.settings(Layer::from_flags(global, &Default::default()))).await
    }

    /// Connects to the farm of these settings.
    ///
    /// # Errors
    /// As [`Farm::connect`].
    pub async fn of(settings: Layer) -> Result<Self, Error> {
        let Some(url) = settings.redis.as_ref().map(|c| c.value.clone()) else { return Err(Error::NoFarm) };
        let name = settings.farm.as_ref().map_or("default", |c| c.value.as_str());
        let store = Store::connect(ConnectOptions::new(&url, name)).await?;
        Ok(Self { store, settings })
    }

    /// The one job that `text` stands for: any unique beginning of its id, or `latest` of one's own.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn job(&self, text: &str) -> Result<JobHead, Error> {
        let heads = self.store.heads().await?;
        choose(heads, text, &place::submitter(), self.store.farm())
    }
}

fn choose(heads: Vec<JobHead>, text: &str, me: &str, farm: &str) -> Result<JobHead, Error> {
    if text == LATEST {
        let mine = heads.into_iter().rev().find(|head| head.submitter == me);
        return mine.ok_or_else(|| Error::NoJob { text: format!("of {me}"), farm: farm.to_owned() });
    }
    let text = text.to_ascii_lowercase();
    let mut found: Vec<JobHead> =
        heads.into_iter().filter(|head| !text.is_empty() && head.id.starts_with(&text)).collect();
    match found.len() {
        0 => Err(Error::NoJob { text: format!("`{text}`"), farm: farm.to_owned() }),
        1 => Ok(found.remove(0)),
        _ => Err(Error::ManyJobs { text, ids: found.into_iter().map(|head| head.id).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: &str, submitter: &str) -> JobHead {
        JobHead { id: id.into(), submitter: submitter.into(), ..JobHead::default() }
    }

    fn heads() -> Vec<JobHead> {
        vec![head("aa11", "me@x"), head("aa22", "me@x"), head("bb33", "you@x")]
    }

    #[test]
    fn a_unique_beginning_is_enough() {
        assert_eq!(choose(heads(), "B", "me@x", "lab").unwrap().id, "bb33");
        assert_eq!(choose(heads(), "aa22", "me@x", "lab").unwrap().id, "aa22");
        let error = choose(heads(), "aa", "me@x", "lab").unwrap_err();
        assert!(error.render().contains("aa11") && error.render().contains("aa22"), "{}", error.render());
        assert!(choose(heads(), "c", "me@x", "lab").unwrap_err().to_string().contains("`c`"));
        assert!(choose(heads(), "", "me@x", "lab").is_err());
    }

    #[test]
    fn latest_is_ones_own() {
        assert_eq!(choose(heads(), "latest", "me@x", "lab").unwrap().id, "aa22");
        assert!(choose(heads(), "latest", "she@x", "lab").unwrap_err().to_string().contains("she@x"));
    }
}
