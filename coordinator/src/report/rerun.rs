//! The line that runs one task again. For people to paste; nothing here runs it.

use remuda_protocol::spec::{Adapter, JobSpec, Template};

use crate::job::template::{command_line, quote};

/// The line for a task of a group, if there is one.
#[must_use]
pub fn line(spec: &JobSpec, group: u32, task: u32, id: &str) -> Option<String> {
    match &spec.groups.get(group as usize)?.adapter {
        Adapter::Pytest { program, .. } | Adapter::Rspec { program, .. } => {
            let mut words = program.clone();
            words.push(id.to_owned());
            Some(format!("remuda run -- {}", command_line(&words)))
        }
        Adapter::Command { template: Template::Argv(words) } => {
            Some(command_line(&words.iter().map(|w| fill(w, id, task, &str::to_owned)).collect::<Vec<_>>()))
        }
        Adapter::Command { template: Template::Shell(line) } => Some(fill(line, id, task, &|text| quote(text))),
        Adapter::Abq { .. } => None,
    }
}

/// Fills the placeholders, as the worker does.
fn fill(text: &str, item: &str, index: u32, quoted: &dyn Fn(&str) -> String) -> String {
    let base = item.rsplit('/').next().unwrap_or(item);
    let stem = match base.rfind('.') {
        Some(dot) if dot > 0 => &item[..item.len() - (base.len() - dot)],
        _ => item,
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let values = [
            ("{}", quoted(item)),
            ("{item}", quoted(item)),
            ("{.}", quoted(stem)),
            ("{/}", quoted(base)),
            ("{#}", (index + 1).to_string()),
            ("{index}", index.to_string()),
        ];
        match values.into_iter().find(|(placeholder, _)| rest.starts_with(placeholder)) {
            Some((placeholder, value)) => {
                out.push_str(&value);
                rest = &rest[placeholder.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, item: &str) -> String {
        fill(text, item, 4, &|word| quote(word))
    }

    #[test]
    fn placeholders_are_filled_as_gnu_parallel_does() {
        assert_eq!(
            shown("c {} {.} {/} {#} {index} {x}", "dir/a b.tar.gz"),
            "c 'dir/a b.tar.gz' 'dir/a b.tar' 'a b.tar.gz' 5 4 {x}"
        );
        assert_eq!(shown("{.}", ".bashrc"), ".bashrc");
        assert_eq!(shown("{.}", "a.d/b"), "a.d/b");
    }

    #[test]
    fn an_item_is_not_filled_a_second_time() {
        assert_eq!(shown("{}", "{#}"), "'{#}'");
    }
}
