//! Tables: with a ruled heading on a terminal, plain aligned text elsewhere.

use std::io::{self, Write};

use super::format::ABSENT;
use super::layout::{GAP, Layout, Step};
use super::output;
use super::style::Style;
use super::width::{cut, width};

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table, or a part of one. Cells must already be escaped.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    has_header: bool,
    rows: Vec<(Vec<String>, Option<Style>)>,
}

impl Table {
    /// A table with these columns; `has_header` prints their names.
    pub(crate) fn new(columns: &[(&'static str, Align)], has_header: bool) -> Self {
        Self {
            columns: columns.to_vec(),
            has_header,
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push((cells, None));
    }

    /// As [`row`](Self::row), with a style where styles are shown.
    pub(crate) fn styled_row(&mut self, cells: Vec<String>, style: Option<Style>) {
        self.rows.push((cells, style));
    }

    /// Writes the table, without blanks at the ends of lines. On a narrow terminal it takes as many of the steps as
    /// needed.
    pub(crate) fn write(
        &self,
        steps: &[Step],
        layout: &mut Layout,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let columns_max = output::terminal_width().map(usize::from);
        for (line, style) in self.lines(steps, layout, columns_max, output::is_terminal()) {
            let line = match style {
                Some(style) => style.paint(&line),
                None => line,
            };
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// The lines, none wider than `columns_max`, with their styles. First the width that each column wants, by its
    /// widest cell; then the layout decides what it gets; then each line is cut to that.
    fn lines(
        &self,
        steps: &[Step],
        layout: &mut Layout,
        columns_max: Option<usize>,
        is_ruled: bool,
    ) -> Vec<(String, Option<Style>)> {
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let heading = self.has_header.then_some(&names);
        let cells = heading
            .into_iter()
            .chain(self.rows.iter().map(|(cells, _)| cells));
        let mut wanted: Vec<(&str, usize)> =
            self.columns.iter().map(|(name, _)| (*name, 0)).collect();
        for row in cells {
            for ((_, wanted), cell) in wanted.iter_mut().zip(row) {
                *wanted = (*wanted).max(width(cell));
            }
        }
        let empty = self.empty_columns(steps);
        let steps: Vec<Step> = empty.into_iter().chain(steps.iter().copied()).collect();
        let widths = layout.fit(&wanted, &steps, columns_max);
        let line = |cells: &[String]| {
            let line = self.line(cells, &widths);
            // Even after all steps the table may be too wide.
            columns_max.map_or_else(|| line.clone(), |max| cut(&line, max).into_owned())
        };
        let mut lines = Vec::with_capacity(self.rows.len().saturating_add(2));
        if let Some(names) = heading {
            lines.push((line(names), None));
            let gaps = widths.iter().flatten().count().saturating_sub(1);
            let total = widths.iter().flatten().sum::<usize>();
            let total = total.saturating_add(gaps.saturating_mul(GAP));
            if is_ruled {
                let rule = "─".repeat(total.min(columns_max.unwrap_or(total)));
                lines.push((rule, None));
            }
        }
        lines.extend(self.rows.iter().map(|(cells, style)| (line(cells), *style)));
        lines
    }

    /// The steps that leave out columns in which no row has anything: they go before all others.
    fn empty_columns(&self, steps: &[Step]) -> Vec<Step> {
        let is_empty = |index: usize| {
            let cells = self.rows.iter().map(|(cells, _)| cells.get(index));
            !self.rows.is_empty() && cells.flatten().all(|cell| cell == ABSENT)
        };
        let can_go = |name: &str| {
            let is_its = |step: &Step| matches!(step, Step::Drop(column) if *column == name);
            steps.iter().any(is_its)
        };
        let columns = self.columns.iter().enumerate();
        let empty = columns.filter(|(index, (name, _))| can_go(name) && is_empty(*index));
        empty.map(|(_, (name, _))| Step::Drop(name)).collect()
    }

    fn line(&self, cells: &[String], widths: &[Option<usize>]) -> String {
        let mut line = String::new();
        let mut is_first = true;
        for ((cell, columns), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let Some(columns) = *columns else { continue };
            if !std::mem::take(&mut is_first) {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = cut(cell, columns);
            let blanks = " ".repeat(columns.saturating_sub(width(&cell)));
            match align {
                Align::Left => line.extend([&*cell, &blanks]),
                Align::Right => line.extend([&blanks, &*cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [(&str, Align); 4] = [
        ("id", Align::Left),
        ("model", Align::Left),
        ("cost", Align::Right),
        ("user", Align::Left),
    ];
    const STEPS: [Step; 4] = [
        Step::Cut("user", 6),
        Step::Drop("cost"),
        Step::Cut("model", 8),
        Step::Drop("user"),
    ];

    fn table(rows: &[[&str; 4]]) -> Table {
        let mut table = Table::new(&COLUMNS, true);
        for row in rows {
            table.row(row.map(str::to_owned).to_vec());
        }
        table
    }

    fn lines(table: &Table, columns_max: Option<usize>) -> Vec<String> {
        let lines = table.lines(&STEPS, &mut Layout::default(), columns_max, false);
        lines.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn columns_are_aligned_also_where_characters_are_wide() {
        let table = table(&[
            ["req-1", "日本語モデル", "$1.20", "u-1"],
            ["req-22", "gpt", "$0.001", "🦀"],
        ]);
        assert_eq!(
            lines(&table, None),
            [
                "id      model           cost  user",
                "req-1   日本語モデル   $1.20  u-1",
                "req-22  gpt           $0.001  🦀",
            ]
        );
        // The cost goes first, then the model is cut.
        assert_eq!(
            lines(&table, Some(22)),
            [
                "id      model     user",
                "req-1   日本語…   u-1",
                "req-22  gpt       🦀",
            ]
        );
    }

    #[test]
    fn a_column_in_which_no_row_has_anything_goes_first() {
        let rows = [
            ["req-1", "gpt-4o", "$1.20", "-"],
            ["req-22", "gpt", "-", "-"],
        ];
        let narrow = [
            "id      model    cost",
            "req-1   gpt-4o  $1.20",
            "req-22  gpt         -",
        ];
        assert_eq!(lines(&table(&rows), Some(23)), narrow);
        // Where there is space for it, it stays.
        let first = lines(&table(&rows), Some(40));
        assert!(first.first().unwrap().ends_with("user"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let words = [
            "gpt-4o",
            "日本語",
            "🦀🦀",
            "claude-sonnet-4-5-20260101",
            "é",
            "-",
            "",
        ];
        for _ in 0..500 {
            let mut word = || {
                let count = rng.usize(..8);
                (0..count)
                    .map(|_| words[rng.usize(..words.len())])
                    .collect::<String>()
            };
            let rows: Vec<[String; 4]> = (0..3).map(|_| [word(), word(), word(), word()]).collect();
            let mut table = Table::new(&COLUMNS, true);
            for row in &rows {
                table.row(row.to_vec());
            }
            let columns_max = 1 + rng.usize(..120);
            for line in lines(&table, Some(columns_max)) {
                assert!(width(&line) <= columns_max, "{columns_max}: {line:?}");
            }
        }
    }
}
