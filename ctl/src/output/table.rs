//! Aligned columns.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment};

/// A column of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// The title.
    pub(crate) title: &'static str,
    /// True if the column is shown only with `-o wide`.
    pub(crate) wide: bool,
    /// True if the cells are numbers, which are aligned right.
    pub(crate) number: bool,
}

impl Column {
    /// Creates a column of text.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self {
            title,
            wide: false,
            number: false,
        }
    }

    /// Creates a column of numbers.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self {
            title,
            wide: false,
            number: true,
        }
    }

    /// Shows the column only with `-o wide`.
    pub(crate) const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }
}

/// A table of rows below a header.
pub(crate) struct Table {
    columns: &'static [Column],
    wide: bool,
    inner: comfy_table::Table,
}

impl Table {
    /// Creates a table without rows.
    pub(crate) fn new(columns: &'static [Column], wide: bool) -> Self {
        let mut table = Self {
            columns,
            wide,
            inner: bare(),
        };
        let titles = columns
            .iter()
            .map(|column| column.title.to_owned())
            .collect();
        let titles = table.shown(titles);
        table.inner.set_header(titles);
        table
    }

    /// Adds a row. `cells` has a cell for each column, also for wide columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(
            cells.len(),
            self.columns.len(),
            "the row has a cell for each column"
        );
        let cells = self.shown(cells);
        self.inner.add_row(cells);
    }

    fn shown(&self, cells: Vec<String>) -> Vec<Cell> {
        let shown = self
            .columns
            .iter()
            .zip(cells)
            .filter(|(column, _)| self.wide || !column.wide);
        let cell = |(column, text): (&Column, String)| {
            let alignment = if column.number {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            };
            // Empty cells would be ambiguous, for people and for awk.
            let text = if text.is_empty() {
                "-".to_owned()
            } else {
                plain(&text)
            };
            Cell::new_owned(text).set_alignment(alignment)
        };
        shown.map(cell).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spaced(self.inner.clone()))
    }
}

/// Formats details with their titles, and omits empty details.
pub(crate) fn details(details: &[(&'static str, String)]) -> String {
    let mut table = bare();
    for (title, text) in details.iter().filter(|(_, text)| !text.is_empty()) {
        // The title of several lines is on the first.
        let title = if title.is_empty() {
            String::new()
        } else {
            format!("{title}:")
        };
        table.add_row([title, plain(text)]);
    }
    spaced(table)
}

fn bare() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING);
    table
}

fn spaced(mut table: comfy_table::Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Escapes control characters: names and paths come from clients, and a terminal would obey control
/// characters in them.
pub(crate) fn plain(text: &str) -> String {
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if is_unsafe(c) {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Returns whether a character is a control character or changes the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::text("NAME"),
        Column::number("COUNT"),
        Column::text("MORE").wide(),
    ];

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let mut table = Table::new(COLUMNS, false);
        table.row(vec!["a".into(), "1".into(), "hidden".into()]);
        table.row(vec!["longer \u{e4}".into(), "1000".into(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME      COUNT\na             1\nlonger \u{e4}   1000"
        );
    }

    #[test]
    fn wide_tables_have_every_column_and_no_empty_cell() {
        let mut table = Table::new(COLUMNS, true);
        table.row(vec!["a".into(), "1".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME  COUNT  MORE\na         1  -");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(plain("caf\u{e9}"), "caf\u{e9}");
    }
}
