//! The program on a terminal, which `script` (of util-linux) provides: keys, the terminal's modes afterwards, colours,
//! the bar.

use std::io::{Read, Write as _};
use std::process::{Child, Stdio};

use super::support::Ranch;

/// A shell line on a terminal of its own.
struct Terminal {
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(ranch: &Ranch, line: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_remuda");
        ranch.write("line.sh", &line.replace("remuda", program));
        let command = ranch.command(&[]);
        let mut script = std::process::Command::new("script");
        script.args(["-qec", "sh line.sh", "/dev/null"]).current_dir(ranch.work()).env_clear();
        script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.env("PATH", std::env::var("PATH").unwrap()).env("LANG", "C.UTF-8").env("TERM", "xterm");
        let child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { child, seen: String::new() }
    }

    /// Reads until the words have been seen.
    fn wait_for(&mut self, words: &str) {
        let out = self.child.stdout.as_mut().unwrap();
        let mut bytes = [0; 4096];
        while !self.seen.contains(words) {
            let n = out.read(&mut bytes).unwrap();
            assert!(n > 0, "it ended without `{words}`:\n{}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys).unwrap();
        stdin.flush().unwrap();
    }

    /// Everything that was shown.
    fn end(mut self) -> String {
        let mut rest = Vec::new();
        self.child.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        self.child.wait().unwrap();
        self.seen + &String::from_utf8_lossy(&rest)
    }
}

const UNTIL_GO: &str = "while [ ! -e go ]; do sleep 0.05; done # {}";

#[test]
fn t_shows_what_runs_and_the_terminal_is_as_it_was() {
    let ranch = Ranch::new();
    let line = format!("stty -a > before\nremuda each -n1 '{UNTIL_GO}' ::: alpha\nstty -a > after\n");
    let mut terminal = Terminal::start(&ranch, &line);
    terminal.wait_for("s] alpha");
    let modes = terminal.seen.len();
    terminal.press(b"xt");
    terminal.wait_for("alpha on ");
    ranch.write("go", "");
    let seen = terminal.end();
    assert!(!seen[modes..].contains("xt"), "typed letters are not shown: {seen}");
    let read = |name: &str| std::fs::read_to_string(ranch.work().join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
}

#[test]
fn ctrl_c_still_ends_the_run_and_puts_the_terminal_back() {
    let ranch = Ranch::new();
    let line = "trap '' QUIT\nstty -a > before\n(trap - INT; exec remuda each -n1 'sleep 60; true {}' ::: alpha)\necho code $?\nstty -a > after\necho over\n";
    let mut terminal = Terminal::start(&ranch, &format!("trap : INT\n{line}"));
    terminal.wait_for("s] alpha");
    terminal.press(&[3]);
    terminal.wait_for("code 130");
    terminal.end();
    let read = |name: &str| std::fs::read_to_string(ranch.work().join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
    ranch.is_clean();
}

#[test]
fn in_the_background_it_neither_stops_nor_touches_the_terminal() {
    let ranch = Ranch::new();
    let line = format!(
        "set -m\nstty -a > before\nremuda each -n1 '{UNTIL_GO}' ::: alpha &\nread typed\nstty -a > during\ntouch go\nwait $!\necho code $? typed $typed\n"
    );
    let mut terminal = Terminal::start(&ranch, &line);
    terminal.wait_for("s] alpha");
    terminal.press(b"text\n");
    terminal.wait_for("code 0 typed text");
    terminal.end();
    let read = |name: &str| std::fs::read_to_string(ranch.work().join(name)).unwrap();
    assert_eq!(read("before"), read("during"));
}

#[test]
fn colours_are_left_out_when_nobody_wants_them_and_forty_columns_are_enough() {
    let ranch = Ranch::new();
    let line = format!(
        "stty rows 24 cols 40\nremuda each -n1 'sleep 0.3; true {{}}' ::: {0}\nNO_COLOR=1 remuda each -n1 true ::: a\n",
        "a-name-that-is-longer-than-forty-columns-altogether"
    );
    let seen = Terminal::start(&ranch, &line).end();
    let (first, second) = seen.rsplit_once("Remuda").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(first.contains("\x1b[32;1m") && !second.contains("\x1b[32;1m"), "{seen}");
    // the bar's lines stand between the signs that switch wrapping off and on
    let bars: Vec<&str> = first.split("\x1b[?7l").skip(1).filter_map(|part| part.split("\x1b[?7h").next()).collect();
    assert!(!bars.is_empty(), "{seen}");
    for line in bars.iter().flat_map(|bar| bar.lines()) {
        let mut shown = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("\x1b[") {
            shown.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        shown.push_str(rest);
        assert!(shown.trim_end().chars().count() <= 40, "{shown:?}");
    }
}
