//! Which reports a run has: settings in, reporters out. The files are tried before the run begins, so that a wrong
//! path is told at once. `report` knows the forms; runs and stored jobs both begin here.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Local};
use remuda_protocol::spec::JobSpec;

use crate::config::Layer;
use crate::error::Error;
use crate::report::Reporter;
use crate::report::console::Look;
use crate::report::durations::Durations;
use crate::report::events::Events;
use crate::report::github::Github;
use crate::report::html::Html;
use crate::report::json::Json;
use crate::report::junit::Junit;
use crate::report::whole::is_standard_output;

/// Finds variables.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Every report but the console and the log, for a run that began at `start`.
///
/// # Errors
/// A file cannot be written.
pub fn reports(
    settings: &Layer,
    spec: &Arc<JobSpec>,
    start: DateTime<Local>,
    look: Lookup<'_>,
) -> Result<Vec<Box<dyn Reporter>>, Error> {
    let mut all: Vec<Box<dyn Reporter>> = Vec::new();
    if let Some(path) = &settings.events {
        all.push(Box::new(Events::new(stream(&path.value, "--events")?, start.into())));
    }
    if let Some(path) = &settings.junit {
        try_out(&path.value, "--junit")?;
        all.push(Box::new(Junit::new(path.value.clone(), spec.name.clone(), start.fixed_offset())));
    }
    if let Some(path) = &settings.html {
        try_out(&path.value, "--html")?;
        all.push(Box::new(Html::new(path.value.clone(), spec.clone(), start.fixed_offset())));
    }
    if let Some(path) = &settings.json {
        try_out(&path.value, "--json")?;
        all.push(Box::new(Json::new(path.value.clone(), spec.clone())));
    }
    if settings.annotations.is_some() {
        let page = match look("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
            Some(path) => Some(Box::new(append(Path::new(&path), "GITHUB_STEP_SUMMARY")?) as Box<dyn Write + Send>),
            None => None,
        };
        let workspace = look("GITHUB_WORKSPACE");
        all.push(Box::new(Github::new(std::io::stderr(), page, spec.clone(), workspace.as_deref())));
    }
    if let Some(n) = settings.durations.as_ref().map(|c| c.value).filter(|n| *n > 0) {
        all.push(Box::new(Durations::new(std::io::stderr(), n)));
    }
    Ok(all)
}

/// How the console looks on this standard error.
#[must_use]
pub fn look(settings: &Layer, verbosity: u8, look: Lookup<'_>) -> Look {
    use std::io::IsTerminal as _;
    let terminal = std::io::stderr().is_terminal() && look("TERM").is_none_or(|t| t != "dumb");
    Look {
        colour: terminal && look("NO_COLOR").is_none_or(|v| v.is_empty()),
        bar: terminal,
        verbosity,
        live: false,
        shown: settings.status_level.as_ref().map(|c| c.value),
        again: settings.final_status_level.as_ref().map(|c| c.value),
        ascii: !has_utf8(look),
        columns: Some(columns),
    }
}

fn columns() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stderr()).map(|(width, _)| usize::from(width.0)).filter(|w| *w > 0)
}

/// Whether the locale's characters are UTF-8: the first of its variables that is set decides.
fn has_utf8(look: Lookup<'_>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(look).find(|value| !value.is_empty());
    locale.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

/// Whether standard output belongs to a report.
#[must_use]
pub fn takes_standard_output(settings: &Layer) -> bool {
    let reports = [&settings.events, &settings.junit, &settings.html, &settings.json];
    reports.into_iter().flatten().any(|path| is_standard_output(&path.value))
}

/// Whether all that commands print is wanted: it is passed on, to standard output or into files, and the run has a
/// private folder to keep it in, which a farm has not.
#[must_use]
pub fn wants_whole(settings: &Layer, into_files: bool) -> bool {
    settings.redis.is_none() && (into_files || !takes_standard_output(settings))
}

/// A file that is written as things happen; `-` is standard output.
///
/// # Errors
/// It cannot be written.
pub fn stream(path: &Path, flag: &str) -> Result<Box<dyn Write + Send>, Error> {
    Ok(match is_standard_output(path) {
        true => Box::new(BufWriter::new(std::io::stdout())),
        false => Box::new(BufWriter::new(create(path, flag)?)),
    })
}

/// A file that will be written at the end can be.
fn try_out(path: &Path, flag: &str) -> Result<(), Error> {
    if is_standard_output(path) {
        return Ok(());
    }
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return std::fs::OpenOptions::new().write(true).open(path).map(drop).map_err(|e| refused(path, flag, &e));
    }
    with_folder(path, flag)?;
    let probe = path.with_extension(format!("{}.probe", std::process::id()));
    // whoever typed the path knows nothing of ours
    std::fs::File::create(&probe).map_err(|e| refused(path, flag, &e))?;
    let _ = std::fs::remove_file(&probe);
    Ok(())
}

fn refused(path: &Path, flag: &str, error: &std::io::Error) -> Error {
    Error::Usage(format!("{flag}: cannot write {}: {error}", path.display()))
}

/// An empty file of a flag, in a folder that is made.
///
/// # Errors
/// It cannot be.
pub fn create(path: &Path, flag: &str) -> Result<std::fs::File, Error> {
    with_folder(path, flag)?;
    std::fs::File::create(path).map_err(|e| refused(path, flag, &e))
}

/// A file of a flag that goes on where it ends.
///
/// # Errors
/// It cannot be.
pub fn append(path: &Path, flag: &str) -> Result<std::fs::File, Error> {
    with_folder(path, flag)?;
    std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(|e| refused(path, flag, &e))
}

fn with_folder(path: &Path, flag: &str) -> Result<(), Error> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder)
            .map_err(|e| Error::Usage(format!("{flag}: cannot make the folder {}: {e}", folder.display()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let with = |pairs: &'static [(&str, &str)]| {
            has_utf8(&move |name| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned()))
        };
        assert!(with(&[("LANG", "de_DE.UTF-8")]) && with(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]) && !with(&[("LANG", "C")]) && !with(&[]));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_before_the_run() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = try_out(&dir.path().join("file/x.html"), "--html").unwrap_err();
        assert!(error.to_string().starts_with("--html: cannot make the folder"), "{error}");
        let error = try_out(Path::new("/proc/x"), "--json").unwrap_err();
        assert!(error.to_string().starts_with("--json: cannot write /proc/x: "), "{error}");
        try_out(&dir.path().join("new/x.html"), "--html").unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
    }
}
