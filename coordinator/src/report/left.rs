//! What an attempt left behind, as lines for people: its traceback, its parts, what it printed, and what of that is
//! missing.

use remuda_protocol::outcome::{Detail, Outcome};

use super::Attempt;
use super::text::indent;

/// All of it, indented; of what it printed the sections whose titles are `wanted`.
#[must_use]
pub fn output(attempt: &Attempt, wanted: impl Fn(&str) -> bool) -> String {
    let detail: &Detail = &attempt.detail;
    let mut text = String::new();
    let long = if detail.text.trim().is_empty() { &detail.message } else { &detail.text };
    text.push_str(&indent(long));
    if long.trim().is_empty() && attempt.outcome != Outcome::Passed {
        text.push_str(&indent(&attempt.why()));
    }
    for (name, outcome, why) in &detail.subtests {
        // the parts that failed may be the test's own text already
        let why = if detail.text.contains(why.trim()) { "" } else { why };
        text.push_str(&indent(&format!("subtest {name}: {outcome} {why}")));
    }
    for (title, body) in detail.sections.iter().filter(|s| wanted(&s.0) && !s.1.trim().is_empty()) {
        text.push_str(&format!("  {title} ---\n{}", indent(body)));
    }
    if detail.dropped_bytes > 0 {
        text.push_str(&format!("    … {} bytes of output were not kept\n", detail.dropped_bytes));
    }
    if attempt.dropped {
        text.push_str("    … its output was not kept: the job's budget for output is used up\n");
    }
    text
}
