//! The `batch` adapter: several ids in one command line; where its report shall be. What the report says is `junit`'s.
//! Pure.

use std::path::Path;

use remuda_protocol::spec::Template;

use remuda_protocol::item::quote as shell_quote;

/// Where a batch reads its ids and leaves its report.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// File with one id a line.
    pub items: &'a Path,
    /// JUnit file.
    pub junit: &'a Path,
    /// Folder of JUnit files.
    pub junit_dir: &'a Path,
    /// Results as JSON.
    pub json: &'a Path,
}

/// The command line for some ids.
///
/// Placeholders: `{items}` all of them as words; `{items:SEP}` one word, joined by SEP; `{items_regex}` a regular
/// expression that matches any of them; `{items_file}`, `{junit}`, `{junit_dir}`, `{json}` paths.
#[must_use]
pub fn argv(template: &Template, ids: &[&str], places: &Places<'_>) -> Vec<String> {
    match template {
        Template::Argv(words) => words
            .iter()
            .flat_map(|word| {
                if word == "{items}" {
                    return ids.iter().map(ToString::to_string).collect();
                }
                vec![fill(word, ids, places, false)]
            })
            .collect(),
        Template::Shell(line) => vec!["/bin/sh".into(), "-c".into(), fill(line, ids, places, true)],
    }
}

fn fill(text: &str, ids: &[&str], places: &Places<'_>, shell: bool) -> String {
    let quote = |s: &str| if shell { shell_quote(s) } else { s.to_owned() };
    let path = |p: &Path| quote(&p.to_string_lossy());
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let tail = &rest[open..];
        let name = tail.find('}').map_or("", |close| &tail[1..close]);
        let value = match name {
            "items" => Some(ids.iter().map(|id| quote(id)).collect::<Vec<_>>().join(" ")),
            "items_regex" => Some(quote(&regex(ids))),
            "items_file" => Some(path(places.items)),
            "junit" => Some(path(places.junit)),
            "junit_dir" => Some(path(places.junit_dir)),
            "json" => Some(path(places.json)),
            _ => name.strip_prefix("items:").map(|separator| quote(&ids.join(separator))),
        };
        match value {
            Some(value) => {
                out.push_str(&value);
                rest = &tail[name.len() + 2..];
            }
            None => {
                out.push('{');
                rest = &tail[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// An expression that matches exactly these texts, as JavaScript, Ruby, POSIX and the rest understand it.
fn regex(ids: &[&str]) -> String {
    let escaped = ids.iter().map(|id| {
        let mut out = String::with_capacity(id.len());
        for c in id.chars() {
            if r"\^$.|?*+()[]{}/".contains(c) {
                out.push('\\');
            }
            out.push(c);
        }
        out
    });
    format!("^({})$", escaped.collect::<Vec<_>>().join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places<'static> {
        Places {
            items: Path::new("/b/items"),
            junit: Path::new("/b/j.xml"),
            junit_dir: Path::new("/b/d"),
            json: Path::new("/b/json"),
        }
    }

    #[test]
    fn ids_become_words_a_list_or_an_expression() {
        let template = Template::Argv(
            ["t", "{items}", "--f={items::}", "-n", "{items_regex}", "{junit}"].map(String::from).into(),
        );
        let line = argv(&template, &["A.b", "C d"], &places());
        assert_eq!(line, ["t", "A.b", "C d", "--f=A.b:C d", "-n", r"^(A\.b|C d)$", "/b/j.xml"]);
    }

    #[test]
    fn an_id_is_never_a_piece_of_shell() {
        let template = Template::Shell("run {items} > {junit}; f() { echo ${X}; }".into());
        assert_eq!(argv(&template, &["$(rm x)", "b"], &places())[2], "run '$(rm x)' b > /b/j.xml; f() { echo ${X}; }");
    }
}
