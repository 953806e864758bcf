//! Tables: with a ruled heading on a terminal, plain aligned text elsewhere.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, TableStyle};

use super::output;

/// A line under the heading, and none between the rows.
const RULED: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table. Cells must already be escaped.
pub(crate) struct Table {
    inner: comfy_table::Table,
    alignments: Vec<Align>,
}

impl Table {
    /// A table with these columns; `has_header` prints their names.
    pub(crate) fn new(columns: &[(&str, Align)], has_header: bool) -> Self {
        let mut inner = comfy_table::Table::new();
        inner
            .load_style(if output::is_terminal() {
                RULED
            } else {
                NOTHING
            })
            .set_content_arrangement(ContentArrangement::Disabled);
        if has_header {
            inner.set_header(columns.iter().map(|(name, _)| *name));
        }
        Self {
            inner,
            alignments: columns.iter().map(|(_, align)| *align).collect(),
        }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.inner.add_row(cells);
    }

    /// Writes the table, without blanks at the ends of lines.
    pub(crate) fn write(mut self, out: &mut dyn Write) -> io::Result<()> {
        for (index, align) in self.alignments.iter().enumerate() {
            if let Some(column) = self.inner.column_mut(index) {
                column.set_padding((0, 2));
                column.set_cell_alignment(match align {
                    Align::Left => CellAlignment::Left,
                    Align::Right => CellAlignment::Right,
                });
            }
        }
        for line in self.inner.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
