//! What the console shows of a host's closing report: why its suite was not forked, fixtures that failed late, what the
//! framework printed at its end, and whether that end failed. It decides nothing: the verdict is `follow`'s.

use std::io::{self, Write};

use remuda_store::HostReport;

use super::Console;
use crate::cli::StatusLevel;
use crate::report::text::{Colour, indent};

impl<W: Write + Send> Console<W> {
    pub(super) fn host(&mut self, report: &HostReport) -> io::Result<()> {
        if !report.no_fork.is_empty() {
            let text = format!("{}: a process for each slot instead of a fork: {}", report.host, report.no_fork);
            self.line("Note", Colour::Yellow, &text)?;
        }
        for (fixture, text) in &report.late {
            self.line(
                "ERROR",
                Colour::Red,
                &format!("teardown of {fixture} failed after its last test had been reported"),
            )?;
            self.say(&indent(text))?;
            let style = self.style;
            self.finale.keep(StatusLevel::Fail, || {
                format!("{} teardown of {fixture} on {}\n", style.status("ERROR", Colour::Red), report.host)
            });
        }
        if !report.summary.trim().is_empty() {
            self.say(&format!("{}\n", report.summary.trim_end_matches('\n')))?;
        }
        if report.failed.is_empty() { Ok(()) } else { self.failed_end(report) }
    }

    fn failed_end(&mut self, report: &HostReport) -> io::Result<()> {
        self.line("ERROR", Colour::Red, &format!("the framework's session failed at its end on {}", report.host))?;
        self.say(&indent(&report.failed))?;
        let style = self.style;
        self.finale.keep(StatusLevel::Fail, || {
            format!("{} end of the session on {}\n", style.status("ERROR", Colour::Red), report.host)
        });
        Ok(())
    }
}
