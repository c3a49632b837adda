//! `remuda config`: is remuda.toml right, and what may stand in it.

use crate::cli::Global;
use crate::cli::verbs::{Config, ConfigVerb};
use crate::config::{FILE, Layer};
use crate::error::{Error, Exit};
use crate::job;
use crate::report::text::count;

use super::{Context, variable};

/// The JSON Schema of the file.
pub const SCHEMA: &str = include_str!("../config/remuda.schema.json");

/// Does it.
///
/// # Errors
/// The first mistake in a file.
pub fn run(global: &Global, args: &Config) -> Result<Exit, Error> {
    match args.what {
        ConfigVerb::Schema => {
            print!("{SCHEMA}");
            Ok(Exit::Passed)
        }
        ConfigVerb::Check => check(global),
    }
}

fn check(global: &Global) -> Result<Exit, Error> {
    let context = Context::new()?;
    let settings = context.settings(Layer::from_flags(global, &Default::default()));
    let Some(file) = &context.files.project else {
        let folder = context.folder.display();
        return Err(Error::Nothing(format!("there is no {FILE} in {folder} or above it: nothing was checked")));
    };
    let drafts = job::drafts(file, &file.select(&[])?)?;
    let pools = file.pools.iter().map(|(name, pool)| (name.clone(), pool.items.clone())).collect();
    let head = Context::head(file.folder(), FILE.to_owned(), &settings)?;
    let plan = job::build(head, drafts, &settings, &pools, &variable)?;
    println!(
        "{} is right: {}, {}",
        file.path.display(),
        count(file.groups.len() as u64, "group"),
        count(pools_of(&plan), "pool")
    );
    Ok(Exit::Passed)
}

fn pools_of(plan: &job::Plan) -> u64 {
    plan.spec.pools.len() as u64
}
