//! `remuda run -- go test …`: recognises it, reads those of the user's own flags that Remuda carries out itself, and
//! writes the line that runs one test again. The arguments travel as they are.

use remuda_protocol::spec::Adapter;

use super::frameworks::Called;
use super::template::command_line;
use crate::config::values::Slots;

/// Flags that make the command something else than a run of tests, or one that must stay whole: what they write or
/// measure belongs to a package, not to a test.
const WHOLE: &[&str] = &[
    "h",
    "help",
    "c",
    "n",
    "x",
    "o",
    "i",
    "exec",
    "json",
    "list",
    "bench",
    "benchmem",
    "benchtime",
    "fuzz",
    "cover",
    "coverprofile",
    "coverpkg",
    "covermode",
    "cpu",
    "cpuprofile",
    "memprofile",
    "blockprofile",
    "mutexprofile",
    "trace",
    "outputdir",
];
/// Flags that choose tests, with a value.
const FILTERS: &[&str] = &["run", "skip"];
/// Other flags with a value.
const VALUES: &[&str] = &[
    "p",
    "parallel",
    "timeout",
    "count",
    "tags",
    "mod",
    "modfile",
    "overlay",
    "ldflags",
    "gcflags",
    "asmflags",
    "pkgdir",
    "vet",
    "shuffle",
    "C",
    "buildmode",
    "compiler",
    "installsuffix",
    "toolexec",
    "pgo",
];

/// Name and value of a flag: one dash or two, `=` or the next word.
fn flag(word: &str) -> Option<(&str, Option<&str>)> {
    let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let bare = bare.strip_prefix("test.").unwrap_or(bare);
    Some(bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value))))
}

/// Recognises `go test`.
#[must_use]
pub fn recognise(words: &[String]) -> Option<Called> {
    let base = words.first()?.rsplit('/').next()?;
    if base != "go" || words.get(1).is_none_or(|w| w != "test") {
        return None;
    }
    let args = words[2..].to_vec();
    let (mut slots, mut maxfail, mut verbosity) = (None, None, 0);
    let mut rest = args.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let Some((name, value)) = flag(word) else { continue };
        if WHOLE.contains(&name) {
            return None;
        }
        let value =
            if FILTERS.contains(&name) || VALUES.contains(&name) { value.or_else(|| rest.next()) } else { value };
        match name {
            "args" => break,
            "count" if value != Some("1") => return None,
            "p" => slots = value.and_then(|n| n.parse().ok()).filter(|n| *n > 0).map(Slots::Count),
            "failfast" if value != Some("false") => maxfail = Some(1),
            "v" if value != Some("false") => verbosity = 1,
            _ => {}
        }
    }
    let adapter = Adapter::GoTest { program: words[..2].to_vec(), args };
    Some(Called { name: "go-test", adapter, slots, retries: None, maxfail, verbosity })
}

/// The line that runs one test again.
#[must_use]
pub fn rerun(program: &[String], args: &[String], id: &str) -> String {
    let (package, test) = id.split_once(' ').unwrap_or((id, ""));
    let mut kept = program.to_vec();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some((name, value)) = flag(word) else { continue };
        if name == "args" {
            break;
        }
        let next =
            if value.is_none() && (FILTERS.contains(&name) || VALUES.contains(&name)) { words.next() } else { None };
        if !FILTERS.contains(&name) {
            kept.push(word.clone());
            kept.extend(next.cloned());
        }
    }
    if !test.is_empty() {
        kept.extend(["-run".to_owned(), format!("^{test}$")]);
    }
    kept.push(package.to_owned());
    format!("remuda run -- {}", command_line(&kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn go_test_is_recognised_unless_it_measures_packages() {
        let called = recognise(&words("go test -v -p 3 -failfast -run TestA -race ./...")).unwrap();
        assert_eq!((called.slots, called.maxfail, called.verbosity), (Some(Slots::Count(3)), Some(1), 1));
        for line in [
            "go build",
            "go test -bench . ./...",
            "go test -coverprofile=c.out",
            "go test --count=3",
            "go test -json",
            "gopher test",
        ] {
            assert_eq!(recognise(&words(line)), None, "{line}");
        }
        assert!(recognise(&words("go test -run bench -count 1 -args -bench")).is_some());
    }

    #[test]
    fn one_test_runs_again_as_it_was_built() {
        let args = words("-tags slow -run=X -race ./... -args a");
        assert_eq!(
            rerun(&words("go test"), &args, "m/a TestB"),
            "remuda run -- go test -tags slow -race -run '^TestB$' m/a"
        );
        assert_eq!(rerun(&words("go test"), &args, "m/a"), "remuda run -- go test -tags slow -race m/a");
    }
}
