//! The `platform` of an override in nextest's configuration: whether it is the one this worker runs on. Read by
//! `nextest_config`; it knows Linux alone, since workers run nowhere else.

use toml::Value;

/// Whether an override's `platform` is this one.
pub(super) fn holds_here(platform: Option<&Value>) -> bool {
    let text = match platform {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Table(both)) => {
            return ["host", "target"].into_iter().all(|side| holds_here(both.get(side)));
        }
        _ => return true,
    };
    match text.trim().strip_prefix("cfg(").and_then(|t| t.strip_suffix(')')) {
        Some(expression) => cfg(expression),
        None => text.contains(std::env::consts::ARCH) && text.contains("-linux-"),
    }
}

/// Whether a `cfg` expression holds on Linux on this processor.
fn cfg(expression: &str) -> bool {
    let expression = expression.trim();
    if let Some((word, inside)) = expression.split_once('(')
        && let Some(inside) = inside.strip_suffix(')')
    {
        let mut parts = split_top(inside).into_iter().map(cfg);
        return match word.trim() {
            "not" => !parts.next().unwrap_or(false),
            "any" => parts.any(|p| p),
            _ => parts.all(|p| p),
        };
    }
    let (name, value) = expression.split_once('=').map_or((expression, ""), |(n, v)| (n, v.trim().trim_matches('"')));
    match name.trim() {
        "unix" => true,
        "target_os" => value == "linux",
        "target_family" => value == "unix",
        "target_arch" => value == std::env::consts::ARCH,
        "target_env" => value == "gnu" || value == "musl",
        "target_pointer_width" => value == "64",
        "target_endian" => value == "little",
        _ => false,
    }
}

/// The parts between commas that are in no parentheses.
fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts.into_iter().filter(|p| !p.trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_this_one_or_not() {
        for (text, here) in [
            ("cfg(unix)", true),
            ("cfg(not(windows))", true),
            ("cfg(any(windows, target_os = \"macos\"))", false),
            ("cfg(all(unix, target_os = \"linux\"))", true),
            ("x86_64-pc-windows-msvc", false),
        ] {
            assert_eq!(holds_here(Some(&Value::String(text.into()))), here, "{text}");
        }
    }
}
