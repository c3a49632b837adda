//! The `rspec` adapter: which Ruby starts the loader, and with what. Its results have the words of pytest's runner.

use std::path::Path;

use remuda_protocol::spec::{GroupBy, Isolation};
use serde_json::{Value, json};

/// The command that starts the loader. `script_line` is the first line of the file that the first word names.
///
/// # Errors
/// A sentence: the script is not Ruby, so that nothing of ours can be loaded before it.
pub fn loader_argv(program: &[String], main: &Path, script_line: Option<&str>) -> Result<Vec<String>, String> {
    let (script, before) = match program.split_last() {
        Some((script, before)) => (script.clone(), before.to_vec()),
        None => ("rspec".to_owned(), Vec::new()),
    };
    let searched = before.iter().any(|word| word == "-S");
    let mut argv: Vec<String> = before.into_iter().filter(|word| word != "-S").collect();
    let named = argv.iter().any(|word| is_ruby(word));
    if argv.is_empty() {
        argv = interpreter(&script, script_line)?;
    } else if !named {
        argv.push("ruby".to_owned());
    }
    argv.push(main.to_string_lossy().into_owned());
    // `ruby rspec` is a file here, `ruby -S rspec` one on PATH
    argv.push(if named && !searched && !script.contains('/') { format!("./{script}") } else { script });
    Ok(argv)
}

fn interpreter(script: &str, line: Option<&str>) -> Result<Vec<String>, String> {
    let words: Vec<String> =
        line.and_then(|l| l.strip_prefix("#!")).unwrap_or("").split_whitespace().map(str::to_owned).collect();
    if words.iter().any(|word| is_ruby(word)) {
        return Ok(words);
    }
    match line {
        // a version manager's shim for `rspec` has one for `ruby` beside it
        _ if !script.contains('/') => Ok(vec!["ruby".to_owned()]),
        None => Ok(vec!["ruby".to_owned()]),
        Some(line) => Err(format!(
            "`{script}` is not a Ruby script, it begins with `{}`; name what it starts, for example \
             `remuda run -- bundle exec rspec`, or run it as one task: `remuda run -- sh -c {script}`",
            line.chars().take(60).collect::<String>()
        )),
    }
}

fn is_ruby(word: &str) -> bool {
    let base = word.rsplit('/').next().unwrap_or(word);
    ["ruby", "jruby", "truffleruby"].iter().any(|name| {
        base.strip_prefix(name).is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    })
}

/// `REMUDA_LOAD` of the runner protocol.
#[must_use]
pub fn load_settings(args: &[String], isolation: Isolation, group_by: GroupBy, slots: u32, job: &str) -> Value {
    json!({
        "args": args,
        "isolation": isolation,
        "group_by": group_by,
        "slots": slots,
        "run": job,
        "rootdir": null,
        "merge": true,
        "timeout": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str, line: Option<&str>) -> Result<String, String> {
        let program: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        loader_argv(&program, Path::new("/r/main.rb"), line).map(|words| words.join(" "))
    }

    #[test]
    fn the_ruby_is_the_one_that_would_have_run() {
        for (program, line, expected) in [
            ("rspec", Some("#!/usr/bin/ruby3.1"), "/usr/bin/ruby3.1 /r/main.rb rspec"),
            ("bin/rspec", Some("#!/usr/bin/env ruby"), "/usr/bin/env ruby /r/main.rb bin/rspec"),
            ("rspec", Some("#!/usr/bin/env bash"), "ruby /r/main.rb rspec"),
            ("rspec", None, "ruby /r/main.rb rspec"),
            ("bundle exec rspec", Some("#!/usr/bin/ruby"), "bundle exec ruby /r/main.rb rspec"),
            ("bundle exec bin/rspec", None, "bundle exec ruby /r/main.rb bin/rspec"),
            ("ruby -Ilib -S rspec", None, "ruby -Ilib /r/main.rb rspec"),
            ("ruby3.2 rspec", None, "ruby3.2 /r/main.rb ./rspec"),
            ("bundle exec ruby -S rspec", None, "bundle exec ruby /r/main.rb rspec"),
        ] {
            assert_eq!(argv(program, line).as_deref(), Ok(expected), "{program}");
        }
    }

    #[test]
    fn a_script_of_another_language_is_refused_by_name() {
        let error = argv("bin/rspec", Some("#!/bin/sh")).unwrap_err();
        assert!(error.contains("`bin/rspec` is not a Ruby script") && error.contains("bundle exec rspec"), "{error}");
    }
}
