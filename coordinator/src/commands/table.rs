//! Columns of text, as wide as they must be; a terminal that is narrower shows the beginning of each line.

use crate::report::text::first_columns;

/// Rows of cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With a heading.
    #[must_use]
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table for standard output: whole, unless that is a terminal.
    #[must_use]
    pub fn shown(&self) -> String {
        let width = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
        let text = self.text();
        match width.filter(|w| *w > 0) {
            Some(width) => text.lines().map(|line| first_columns(line, width) + "\n").collect(),
            None => text,
        }
    }

    /// The table, a line for each row.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let wide = |c: usize| self.rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(wide).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, w)| format!("{cell}{}", " ".repeat(w - cell.chars().count())))
                .collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let mut table = Table::new(["A", "B"]);
        table.row(["längste".to_owned(), "x".to_owned()]);
        assert_eq!(table.text(), "A        B\nlängste  x\n");
    }
}
