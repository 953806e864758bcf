//! Tables: with a ruled heading on a terminal, plain aligned text elsewhere.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle};

use super::output;

/// A line under the heading, and none between the rows.
const RULED: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// Blanks behind a column.
const GAP: u16 = 2;
/// The same on a terminal, where the junction of the rule under the heading takes one more.
const RULED_GAP: u16 = GAP + 1;

/// Columns that are left out for want of width. What the first part of a list had no room for, its other
/// parts do not show either.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    names: Option<Vec<&'static str>>,
}

impl LeftOut {
    /// Says which columns are left out, where any are.
    pub(crate) fn say(&self) {
        if let Some(names) = self.names.as_deref().filter(|names| !names.is_empty()) {
            let names = names.join(", ");
            output::say(&format!(
                "not shown on a terminal this narrow: {names}; --json, or a pipe, has them"
            ));
        }
    }
}

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
    columns: Vec<(&'static str, Align)>,
}

impl Table {
    /// A table with these columns; `has_header` prints their names.
    pub(crate) fn new(columns: &[(&'static str, Align)], has_header: bool) -> Self {
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
            columns: columns.to_vec(),
        }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.inner.add_row(cells);
    }

    /// As [`write`](Self::write). On a terminal that is too narrow it leaves out as many of the
    /// `expendable` columns as it must, the least important first.
    pub(crate) fn write_narrowed(
        mut self,
        expendable: &[&'static str],
        left_out: &mut LeftOut,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let names = left_out
            .names
            .get_or_insert_with(|| self.too_wide(expendable, output::terminal_width()));
        for (index, (name, _)) in self.columns.iter().enumerate() {
            if names.contains(name)
                && let Some(column) = self.inner.column_mut(index)
            {
                column.set_constraint(ColumnConstraint::Hidden);
            }
        }
        self.write(out)
    }

    /// The first of the expendable columns without which it fits. `None`: it may be of any width.
    fn too_wide(&self, expendable: &[&'static str], width: Option<u16>) -> Vec<&'static str> {
        let Some(width) = width else {
            return Vec::new();
        };
        let widths = self.inner.column_max_content_widths();
        let taken = |name: &str| {
            let columns = self.columns.iter().zip(&widths);
            let of_name = columns.filter(|((known, _), _)| *known == name);
            of_name.fold(0_u16, |sum, (_, width)| {
                sum.saturating_add(*width).saturating_add(RULED_GAP)
            })
        };
        let mut total = widths.iter().fold(0_u16, |sum, width| {
            sum.saturating_add(*width).saturating_add(RULED_GAP)
        });
        let mut names = Vec::new();
        let is_there = |name: &&&str| self.columns.iter().any(|(known, _)| known == *name);
        for name in expendable.iter().filter(is_there) {
            if total.saturating_sub(RULED_GAP) <= width {
                break;
            }
            total = total.saturating_sub(taken(name));
            names.push(*name);
        }
        names
    }

    /// Writes the table, without blanks at the ends of lines.
    pub(crate) fn write(mut self, out: &mut dyn Write) -> io::Result<()> {
        for (index, (_, align)) in self.columns.iter().enumerate() {
            if let Some(column) = self.inner.column_mut(index) {
                column.set_padding((0, GAP));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_important_columns_go_until_the_rest_fits() {
        let columns = [("a", Align::Left), ("b", Align::Right), ("c", Align::Left)];
        let mut table = Table::new(&columns, true);
        table.row(vec!["x".repeat(10), "y".repeat(5), "z".repeat(3)]);
        // 10, 5 and 3 characters with three blanks between them.
        for (width, names) in [
            (None, &[][..]),
            (Some(24), &[]),
            (Some(23), &["c"]),
            (Some(18), &["c"]),
            (Some(17), &["c", "b"]),
            (Some(1), &["c", "b"]),
        ] {
            assert_eq!(table.too_wide(&["d", "c", "b"], width), names, "{width:?}");
        }
    }
}
