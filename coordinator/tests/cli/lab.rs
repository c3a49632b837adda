//! A farm with a real worker, and the program asking it. What the verbs say of it is in the tests.

use super::support::{Farm, Ranch, Seen};

/// A farm with a worker of some slots, and the folder whose jobs run there.
pub(crate) struct Lab {
    pub(crate) ranch: Ranch,
    pub(crate) farm: Farm,
}

impl Lab {
    pub(crate) fn new(slots: &str) -> Self {
        let ranch = Ranch::new();
        let farm = Farm::start(&[]).with_worker(&ranch, &["--slots", slots]);
        let lab = Self { ranch, farm };
        lab.until("a worker", &["workers", "--json"], |seen| seen.out.contains("\"idle\""));
        lab
    }

    pub(crate) fn run(&self, args: &[&str]) -> Seen {
        self.ranch.run(&self.with_farm(args))
    }

    pub(crate) fn with_farm<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [&args[..1], &["--redis", self.farm.url_str()], &args[1..]].concat()
    }

    /// Asks again and again until the answer is right.
    pub(crate) fn until(&self, what: &str, args: &[&str], right: impl Fn(&Seen) -> bool) -> Seen {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let seen = self.run(args);
            if right(&seen) {
                return seen;
            }
            assert!(std::time::Instant::now() < end, "waited for {what}:\n{}{}", seen.out, seen.err);
        }
    }

    /// Submits and returns the job's id.
    pub(crate) fn submit(&self, args: &[&str]) -> String {
        let seen = self.run(&[&["submit"], args].concat()).exits(0);
        seen.out.trim().to_owned()
    }

    pub(crate) fn items(&self, command: &str, items: &str) {
        self.ranch.write(
            "remuda.toml",
            &format!("[groups.g]\nadapter = \"command\"\ncommand = \"{command}\"\nitems = [{items}]\n"),
        );
    }
}
