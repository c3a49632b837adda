//! `remuda each`: a command for every item, from the line or from standard input.

use std::io::IsTerminal as _;

use crate::cli::{Each, Global};
use crate::config::Layer;
use crate::error::{Error, Exit};
use crate::job::{self, Items, adhoc};
use crate::session::{self, Request};

use super::{Context, describe, variable, verbosity};

/// Does it.
///
/// # Errors
/// Whatever keeps the run from its end.
pub async fn run(global: &Global, args: &Each) -> Result<Exit, Error> {
    let context = Context::new()?;
    let draft = adhoc::each(&args.words, args.null)?;
    let settings = context.settings(Layer::from_flags(global, &args.flags));
    let name = args.words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let head = Context::head(&context.folder, format!("each {name}"), &settings)?;
    let reads = matches!(draft.items, Items::Input { .. });
    let plan = job::build(head, vec![draft], &settings, &Default::default(), &variable)?;
    if args.flags.dry_run {
        print!("{}", describe(&plan, &settings));
        return Ok(Exit::Passed);
    }
    let mut notes = Vec::new();
    if reads && std::io::stdin().is_terminal() {
        notes.push("reading items from the terminal, one a line; Ctrl-D ends them".to_owned());
    }
    session::run(Request {
        plan,
        settings: &settings,
        verbosity: verbosity(global, 0),
        last_failed: false,
        live: false,
        echo: true,
        notes,
        look: &variable,
    })
    .await
}
