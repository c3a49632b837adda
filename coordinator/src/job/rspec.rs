//! `remuda run -- rspec …`: recognises RSpec however it is called. The arguments stay as they are: the runner's loader
//! gives them to RSpec, which tells what of them concerns the whole run.

use remuda_protocol::spec::{Adapter, GroupBy, Isolation};

/// RSpec as it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// What starts it, up to the script.
    pub program: Vec<String>,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Recognises RSpec in a command: `rspec`, `bin/rspec`, `bundle exec rspec`, `ruby -S rspec`.
#[must_use]
pub fn recognise(words: &[String]) -> Option<Called> {
    let mut at = 0;
    let bundled = matches!(base(words.first()?), "bundle" | "bundler") && words.get(1).is_some_and(|w| w == "exec");
    if bundled {
        at = 2 + words[2..].iter().take_while(|w| w.starts_with("--")).count();
    }
    if is_ruby(base(words.get(at)?)) {
        at = script(words, at + 1)?;
    }
    (base(words.get(at)?) == "rspec").then(|| Called { program: words[..=at].to_vec(), args: words[at + 1..].to_vec() })
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_ruby(name: &str) -> bool {
    let version = name.strip_prefix("ruby").or_else(|| name.strip_prefix("jruby"));
    version.is_some_and(|v| v.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// Where Ruby's options end and its script stands.
fn script(words: &[String], mut at: usize) -> Option<usize> {
    loop {
        match words.get(at)?.as_str() {
            "-I" | "-r" | "-C" | "-E" => at += 2,
            word if word.starts_with("-e") => return None,
            word if word.starts_with('-') && word.len() > 1 => at += 1,
            _ => return Some(at),
        }
    }
}

/// Whether these arguments make RSpec do something else than run its examples once.
#[must_use]
pub fn only_tells(args: &[String]) -> bool {
    const TELLING: [&str; 9] = ["-h", "--help", "-v", "--version", "--init", "--bisect", "--dry-run", "-X", "--drb"];
    let tells = |word: &String| TELLING.contains(&word.as_str()) || word.starts_with("--bisect=");
    args.iter().take_while(|word| *word != "--").any(tells)
}

/// RSpec's words for what `-k` and `-m` on our side of the dashes ask for: a part of the description, a tag.
#[must_use]
pub fn selection(ours: &[String]) -> Vec<String> {
    let word = |word: &String| match word.as_str() {
        "-k" => "--example".to_owned(),
        "-m" => "--tag".to_owned(),
        other => other.to_owned(),
    };
    // flags and values take turns
    ours.chunks(2).flat_map(|pair| pair.iter().take(1).map(word).chain(pair.iter().skip(1).cloned())).collect()
}

/// The adapter, before settings say how it is contained.
#[must_use]
pub fn adapter(program: Vec<String>, args: Vec<String>) -> Adapter {
    Adapter::Rspec { program, args, isolation: Isolation::Slot, group_by: GroupBy::Test }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn rspec_is_recognised_however_it_is_called() {
        for (line, program) in [
            ("rspec", 1),
            ("bin/rspec spec -fd", 1),
            ("bundle exec rspec --tag slow", 3),
            ("bundle exec --gemfile=x rspec", 4),
            ("ruby -S rspec -e x", 3),
            ("ruby3.2 -I lib -w bin/rspec", 5),
            ("bundle exec ruby -S rspec", 5),
        ] {
            let called = recognise(&words(line)).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(called.program, words(line)[..program], "{line}");
            assert_eq!(called.args, words(line)[program..], "{line}");
        }
        for line in ["bundle install rspec", "ruby -e rspec", "ruby spec/a_spec.rb", "rspecq", "make rspec", "bundle"] {
            assert_eq!(recognise(&words(line)), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_run_is_left_to_rspec() {
        for line in ["--version", "-fd --dry-run", "--bisect=verbose", "--init"] {
            assert!(only_tells(&words(line)), "{line}");
        }
        assert!(!only_tells(&words("-fd --seed 3 -- --help")));
    }

    #[test]
    fn a_selection_on_our_side_is_said_in_the_words_of_rspec() {
        assert_eq!(selection(&words("-k -k -m slow")), words("--example -k --tag slow"));
    }
}
