//! The line that runs one task again. For people to paste; nothing here runs it.

use std::path::Path;

use remuda_protocol::item::{self, Item, quote};
use remuda_protocol::spec::{Adapter, JobSpec, Template};

use crate::job::template::command_line;
use crate::job::{cargo, go, pytest, rootdir};

/// The line for a task of a group, if there is one.
#[must_use]
pub fn line(spec: &JobSpec, group: u32, task: u32, id: &str) -> Option<String> {
    match &spec.groups.get(group as usize)?.adapter {
        Adapter::Pytest { program, args, .. } => {
            let test = rootdir::argument(Path::new(&spec.tree.path), args, id);
            Some(again(program, pytest::settings(args).into_iter().chain([test])))
        }
        Adapter::Rspec { program, .. } => Some(again(program, [id.to_owned()])),
        Adapter::Command { template } => Some(item::command(template, &Item::new(id, task), 0)),
        Adapter::CargoNextest { program, args } => Some(cargo::rerun_nextest(program, args, id)),
        Adapter::CargoTest { program, args } => Some(cargo::rerun_test(program, args, id)),
        Adapter::GoTest { program, args } => Some(go::rerun(program, args, id)),
        Adapter::Batch(batch) => batch_line(&batch.command, id),
        Adapter::Abq { .. } => None,
    }
}

fn again(program: &[String], args: impl IntoIterator<Item = String>) -> String {
    let words: Vec<String> = program.iter().cloned().chain(args).collect();
    format!("remuda run -- {}", command_line(&words))
}

/// The command of a batch for one id, as a shell takes it; its report goes nowhere. None if ids go through a file.
fn batch_line(command: &Template, id: &str) -> Option<String> {
    let text = match command {
        Template::Argv(words) => words.join(" "),
        Template::Shell(line) => line.clone(),
    };
    let (mut out, mut rest) = (String::new(), text.as_str());
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest.find('}').map_or("", |end| &rest[1..end]);
        let value = match name {
            "items_file" => return None,
            "items_regex" => Some(quote(&format!("^({})$", escaped(id)))),
            "junit" | "json" => Some("/dev/null".to_owned()),
            "junit_dir" => Some("/tmp".to_owned()),
            _ => (name == "items" || name.starts_with("items:")).then(|| quote(id)),
        };
        match value {
            Some(value) => {
                out.push_str(&value);
                rest = &rest[name.len() + 2..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    Some(out + rest)
}

fn escaped(id: &str) -> String {
    id.chars().flat_map(|c| r"\^$.|?*+()[]{}/".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_of_a_batch_runs_again_by_its_own_command() {
        let line = |text: &str| batch_line(&Template::Shell(text.into()), "A.b c");
        assert_eq!(line("t --f={items::} -o {junit}").as_deref(), Some("t --f='A.b c' -o /dev/null"));
        assert_eq!(line("t -n /{items_regex}/ ${X:-y}").as_deref(), Some(r"t -n /'^(A\.b c)$'/ ${X:-y}"));
        assert_eq!(line("t {items_file} {json}"), None);
    }
}
