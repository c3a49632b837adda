//! The scripts: joined from shared `lib/*.lua` and a body, called by hash.
//!
//! Each body is a file with a header (purpose, KEYS, ARGV, returns, transitions); its typed wrapper is the Rust file
//! of the same name. A [`ScriptSet`] may be patched, so that a test can turn the clock or plant a fault.

use redis::Script;

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("scripts/", $name, ".lua"))
    };
}

const BASE: &[&str] = &[lua!("lib/base")];
const TREE: &[&str] = &[lua!("lib/base"), lua!("lib/records"), lua!("lib/lanes"), lua!("lib/terminal")];
const CLAIMS: &[&str] = &[
    lua!("lib/base"),
    lua!("lib/records"),
    lua!("lib/lanes"),
    lua!("lib/terminal"),
    lua!("lib/claims"),
    lua!("lib/reap"),
];
const HOT: &[&str] = &[
    lua!("lib/base"),
    lua!("lib/records"),
    lua!("lib/lanes"),
    lua!("lib/terminal"),
    lua!("lib/claims"),
    lua!("lib/reap"),
    lua!("lib/results"),
    lua!("lib/choose"),
];

/// A script's name, which is its file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Hello,
    Open,
    Add,
    Seal,
    Next,
    Beat,
    Reap,
    Cancel,
    Resync,
    Log,
    Adopt,
    Gc,
    Report,
    Drain,
    Refuse,
}

impl Name {
    const ALL: [(Name, &'static str, &'static [&'static str], &'static str, bool); 15] = [
        // name, word, libraries, body, may run when memory is full (it frees, or ends what runs)
        (Name::Hello, "hello", BASE, lua!("hello"), true),
        (Name::Open, "open", TREE, lua!("open"), false),
        (Name::Add, "add", TREE, lua!("add"), false),
        (Name::Seal, "seal", TREE, lua!("seal"), true),
        (Name::Next, "next", HOT, lua!("next"), true),
        (Name::Beat, "beat", CLAIMS, lua!("beat"), true),
        (Name::Reap, "reap", CLAIMS, lua!("reap"), true),
        (Name::Cancel, "cancel", CLAIMS, lua!("cancel"), true),
        (Name::Resync, "resync", CLAIMS, lua!("resync"), true),
        (Name::Log, "log", CLAIMS, lua!("log"), false),
        (Name::Adopt, "adopt", BASE, lua!("adopt"), true),
        (Name::Gc, "gc", BASE, lua!("gc"), true),
        (Name::Report, "report", BASE, lua!("report"), false),
        (Name::Drain, "drain", CLAIMS, lua!("drain"), true),
        (Name::Refuse, "refuse", CLAIMS, lua!("refuse"), true),
    ];

    pub(crate) fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// All scripts, ready to be called.
pub struct ScriptSet {
    scripts: Vec<Script>,
}

impl Default for ScriptSet {
    fn default() -> Self {
        Self::patched(|_, source| source)
    }
}

impl ScriptSet {
    /// The scripts after `patch(name, source)`: for tests that turn the clock or plant a fault.
    #[must_use]
    pub fn patched(patch: impl Fn(&str, String) -> String) -> Self {
        let scripts = Name::ALL
            .iter()
            .map(|(_, word, libraries, body, full)| {
                let flags = if *full { "#!lua flags=allow-oom" } else { "#!lua" };
                // the base's locals are captured once, by one function, not by each of a hundred: a call starts in half the time
                let (base, rest) = (libraries[0], libraries[1..].concat());
                let source = format!("{flags}\n{base}\nreturn (function()\n{rest}\n{body}\nend)()\n");
                Script::new(&patch(word, source))
            })
            .collect();
        Self { scripts }
    }

    pub(crate) fn get(&self, name: Name) -> &Script {
        &self.scripts[name as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_names() {
        for (i, row) in Name::ALL.iter().enumerate() {
            assert_eq!(row.0 as usize, i);
        }
    }

    #[test]
    fn every_script_has_a_header_that_names_its_keys_and_transitions() {
        for (_, word, _, body, _) in Name::ALL {
            for part in [&format!("-- {word}: "), "KEYS 1 meta", "ARGV", "Returns", "Transitions:"] {
                assert!(body.contains(part), "{word}.lua lacks `{part}`");
            }
        }
    }
}
