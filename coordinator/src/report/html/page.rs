//! The looks of the page: what people must see without scripts is text here; what is sorted, searched and drawn is
//! data for the script in `page.html`. Every text of a run is escaped.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Html;
use super::rows::Failure;
use crate::report::Summary;
use crate::report::text::{length, took};

const TEMPLATE: &str = include_str!("page.html");

/// The whole page.
pub(super) fn render(html: &Html, summary: &Summary) -> String {
    let mut page = String::new();
    let mut rest = TEMPLATE;
    // the template is walked through once: what is put in is never looked at again
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((mark, after)) = after.split_once("}}") else { break };
        match mark {
            "title" => page.push_str(&escape(&html.spec.name)),
            "summary" => head(&mut page, html, summary),
            "failures" => failures(&mut page, html),
            "workers" => workers(&mut page, html, summary),
            "data" => page.push_str(&data(html, summary).to_string().replace('<', "\\u003c")),
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn head(page: &mut String, html: &Html, summary: &Summary) {
    let class = if summary.is_good() { "good" } else { "bad" };
    let _ = write!(
        page,
        "<p class=\"verdict {class}\"><b>{}</b> in {}</p><p class=\"dim\">{} · job {} · exit code {}</p>",
        escape(&summary.sentence()),
        length(summary.wall),
        html.start.format("%Y-%m-%d %H:%M:%S %:z"),
        escape(&html.spec.id),
        summary.exit
    );
    if !summary.because.is_empty() {
        let _ = write!(page, "<p class=\"bad\">{}</p>", escape(&summary.because));
    }
}

fn failures(page: &mut String, html: &Html) {
    let count = html.rows.failures.len();
    if count + html.beside.len() == 0 {
        return;
    }
    let _ = write!(page, "<h2>Failures <span class=\"dim\">{}</span></h2>", count + html.rows.not_listed);
    for (i, failure) in html.rows.failures.iter().enumerate() {
        one(page, failure, i < 3);
    }
    if html.rows.not_listed > 0 {
        let _ = write!(page, "<p class=\"dim\">and {} more, which the log has</p>", html.rows.not_listed);
    }
    for (what, text) in &html.beside {
        let _ = write!(
            page,
            "<details class=\"failure\"><summary><b class=\"bad\">error</b> {}</summary><pre>{}</pre></details>",
            escape(what),
            escape(text)
        );
    }
}

fn one(page: &mut String, failure: &Failure, open: bool) {
    let row = &failure.row;
    let word = remuda_protocol::outcome::Outcome::from_letter(row.outcome).map_or("flaky", |o| o.word());
    let _ = write!(
        page,
        "<details class=\"failure\"{}><summary><b class=\"bad\">{word}</b> <code>{}</code> <span class=\"dim\">{} {}</span><br><span class=\"why\">{}</span></summary>",
        if open { " open" } else { "" },
        escape(&row.name),
        took(row.us),
        escape(&row.place),
        escape(&failure.why)
    );
    if !failure.again.is_empty() {
        let _ = write!(page, "<p class=\"dim\">again: <code>{}</code></p>", escape(&failure.again));
    }
    for (title, body) in &failure.output {
        if !title.is_empty() {
            let _ = write!(page, "<p class=\"dim\">{}</p>", escape(title));
        }
        let _ = write!(page, "<pre>{}</pre>", escape(body.trim_end()));
    }
    page.push_str("</details>");
}

fn workers(page: &mut String, html: &Html, summary: &Summary) {
    page.push_str("<table><tr><th>worker<th class=\"n\">slots<th class=\"n\">");
    let _ = write!(page, "{}s<th class=\"n\">first<th class=\"n\">busy<th class=\"n\">lost</tr>", escape(summary.noun));
    for part in html.workers.parts() {
        let first = part.first.map_or_else(|| "–".to_owned(), length);
        let _ = write!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{first}<td class=\"n\">{} %<td class=\"n\">{}</tr>",
            escape(&html.workers.name(part)),
            part.slots(),
            part.tests,
            part.busy_percent(summary.wall),
            part.losses
        );
    }
    page.push_str("</table>");
}

/// What the script reads: tests as `[name, group, outcome, µs, from µs, place, attempts]`, slots as `[label, stretches]`
/// with stretches as `[from µs, µs, worst, tests, name's place among the tests or -1]`.
fn data(html: &Html, summary: &Summary) -> Value {
    let list = html.rows.list();
    let at: std::collections::HashMap<(u32, u32), usize> = list.iter().enumerate().map(|(i, r)| (r.task, i)).collect();
    let tests: Vec<Value> =
        list.iter().map(|r| json!([r.name, r.group, r.outcome, r.us, r.from, r.place, r.attempts])).collect();
    let slots: Vec<Value> = html
        .timeline
        .slots()
        .map(|(label, stretches)| {
            let stretches: Vec<Value> = stretches
                .iter()
                .map(|s| {
                    let name = at.get(&s.task).and_then(|i| i64::try_from(*i).ok()).unwrap_or(-1);
                    json!([s.from, s.to - s.from, s.worst, s.tests, name])
                })
                .collect();
            json!([label, stretches])
        })
        .collect();
    let wall = u64::try_from(summary.wall.as_micros()).unwrap_or(u64::MAX);
    json!({"wall": wall, "total": html.rows.total, "tests": tests, "slots": slots, "missing": html.timeline.missing, "stacked": html.timeline.stacked})
}
