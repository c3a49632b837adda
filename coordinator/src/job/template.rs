//! From a command as it was written to the template in the job: words where no shell is needed, a line for `sh -c`
//! where one is. The worker fills in the placeholders.
//!
//! The placeholders are those of `remuda_protocol::item`.

pub use remuda_protocol::item::quote;
use remuda_protocol::item::{PLACEHOLDERS, has_place};
use remuda_protocol::spec::Template;

use crate::config::values::CommandText;

/// What only a shell can run as a first word.
const BUILTINS: [&str; 34] = [
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "eval", "exec", "exit", "export", "fc",
    "fg", "for", "getopts", "hash", "if", "jobs", "read", "readonly", "return", "set", "shift", "times", "trap",
    "type", "ulimit", "umask", "unalias", "unset", "until", "while",
];

/// The template of a command.
#[must_use]
pub fn template(command: &CommandText) -> Template {
    match command {
        CommandText::Words(words) => Template::Argv(words.clone()),
        CommandText::Line(line) if needs_shell(line) => Template::Shell(line.clone()),
        CommandText::Line(line) => Template::Argv(line.split_whitespace().map(str::to_owned).collect()),
    }
}

/// Words that are run as they are, even where they look like placeholders.
#[must_use]
pub fn literal(words: &[String]) -> Template {
    if !words.iter().any(|word| has_place(word)) {
        return Template::Argv(words.to_vec());
    }
    let quoted: Vec<String> = words.iter().map(|w| quote_open_braces(w)).collect();
    Template::Shell(format!("exec {}", quoted.join(" ")))
}

/// The line with ` {}` at its end if it has no place for the item, as GNU parallel does.
#[must_use]
pub fn with_place(line: &str) -> String {
    if has_place(line) { line.to_owned() } else { format!("{line} {{}}") }
}

fn needs_shell(line: &str) -> bool {
    let mut bare = line.to_owned();
    for placeholder in PLACEHOLDERS {
        bare = bare.replace(placeholder, "x");
    }
    let first = bare.split_whitespace().next().unwrap_or_default();
    bare.contains(|c: char| "|&;<>()$`\\\"'*?[]#~!\n".contains(c)) || first.contains('=') || BUILTINS.contains(&first)
}

/// Shell-quoted so that no placeholder is left in the text: every `{` ends its quotes.
fn quote_open_braces(word: &str) -> String {
    let parts: Vec<String> = word.split('{').map(|part| part.replace('\'', r"'\''")).collect();
    format!("'{}'", parts.join("{''"))
}

/// Words as one would type them.
#[must_use]
pub fn command_line(words: &[String]) -> String {
    words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Template {
        template(&CommandText::Line(line.into()))
    }

    fn argv(words: &[&str]) -> Template {
        Template::Argv(words.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_line_without_shell_characters_is_run_directly() {
        assert_eq!(of("gzip -9  {}"), argv(&["gzip", "-9", "{}"]));
        assert_eq!(of("convert {} {.}.jpg {#}"), argv(&["convert", "{}", "{.}.jpg", "{#}"]));
    }

    #[test]
    fn what_needs_a_shell_gets_one() {
        for line in [
            "gzip {} | wc",
            "echo $HOME",
            "A=1 env",
            "cd {}",
            "exit {}",
            "echo 'a b'",
            "ls *.c",
            "a && b",
            "sleep 1 # why",
        ] {
            assert_eq!(of(line), Template::Shell(line.into()), "{line}");
        }
    }

    #[test]
    fn braces_of_a_plain_command_stay_braces() {
        let words = ["find", ".", "-exec", "echo", "{}", "it's {item}", ";"].map(str::to_owned);
        let Template::Shell(line) = literal(&words) else { panic!("not a shell line") };
        assert!(!has_place(&line), "{line}");
        let echoed = std::process::Command::new("sh")
            .args(["-c", &line.replace("exec 'find'", "printf '%s\\n'")])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(echoed.stdout).unwrap(), words[1..].join("\n") + "\n");
        assert_eq!(literal(&["ls".to_owned()]), argv(&["ls"]));
    }

    #[test]
    fn a_template_without_a_place_gets_one_at_its_end() {
        assert_eq!(with_place("echo"), "echo {}");
        assert_eq!(with_place("echo {/} x"), "echo {/} x");
    }
}
