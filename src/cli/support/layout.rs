//! Which columns a table has, and how wide each is, so that it fits the terminal.

use super::output;

/// Blanks between columns.
pub(super) const GAP: usize = 2;

/// One step that makes a table narrower. A table has a list of steps and takes them in order until it fits: the
/// most important columns come last in the list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Cells of this column are cut as far as needed, but never below this width.
    Cut(&'static str, usize),
    /// This column is left out.
    Drop(&'static str),
}

/// Keeps the parts of a table aligned: a column that one part left out stays out, and no column becomes narrower
/// than in the parts above.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    dropped: Vec<&'static str>,
    widths: Vec<usize>,
    said: usize,
}

impl Layout {
    /// Reports once which columns were left out, if any.
    pub(crate) fn say(&mut self) {
        if self.dropped.len() > self.said {
            self.said = self.dropped.len();
            output::say(&format!(
                "not shown on a terminal this narrow: {}; --json, or a pipe, has them",
                self.dropped.join(", ")
            ));
        }
    }

    /// The width of each column, by its name and the width that it wants; `None`: it is left out.
    /// `columns_max`: as many as the terminal has; `None`: any number.
    pub(super) fn fit(
        &mut self,
        wanted: &[(&'static str, usize)],
        steps: &[Step],
        columns_max: Option<usize>,
    ) -> Vec<Option<usize>> {
        self.widths.resize(wanted.len(), 0);
        let mut columns: Vec<Column> = Vec::with_capacity(wanted.len());
        for ((name, wanted), before) in wanted.iter().zip(&mut self.widths) {
            *before = (*before).max(*wanted);
            columns.push(Column {
                name,
                wanted: *before,
                width: (!self.dropped.contains(name)).then_some(*before),
            });
        }
        if let Some(columns_max) = columns_max {
            self.dropped
                .extend(narrow(&mut columns, steps, columns_max));
        }
        columns.iter().map(|column| column.width).collect()
    }
}

struct Column {
    name: &'static str,
    wanted: usize,
    /// `None`: it is left out.
    width: Option<usize>,
}

fn total(columns: &[Column]) -> usize {
    let shown = columns.iter().filter_map(|column| column.width);
    let total = shown.fold(0, |sum: usize, width| {
        sum.saturating_add(width).saturating_add(GAP)
    });
    total.saturating_sub(GAP)
}

/// Takes the steps until the columns fit. Returns the columns that were left out.
fn narrow(columns: &mut [Column], steps: &[Step], columns_max: usize) -> Vec<&'static str> {
    let mut dropped = Vec::new();
    for step in steps {
        let excess = total(columns).saturating_sub(columns_max);
        if excess == 0 {
            break;
        }
        let (Step::Cut(name, _) | Step::Drop(name)) = step;
        let Some(column) = columns.iter_mut().find(|column| column.name == *name) else {
            continue;
        };
        let Some(width) = column.width else { continue };
        column.width = match step {
            Step::Cut(_, min) => Some(width.saturating_sub(excess).max(*min).min(width)),
            Step::Drop(name) => {
                dropped.push(*name);
                None
            }
        };
    }
    // A column that was left out may have freed too much: the column that was cut last gets it back first.
    for step in steps.iter().rev() {
        let free = columns_max.saturating_sub(total(columns));
        if let Step::Cut(name, _) = step
            && let Some(column) = columns.iter_mut().find(|column| column.name == *name)
            && let Some(width) = &mut column.width
        {
            *width = width.saturating_add(free).min(column.wanted);
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 5] = [
        Step::Cut("a", 6),
        Step::Drop("d"),
        Step::Drop("c"),
        Step::Cut("a", 4),
        Step::Drop("b"),
    ];

    #[test]
    fn steps_are_taken_in_order_until_the_rest_fits() {
        // 10, 5 and 3 columns with two blanks between them.
        let wanted = [("a", 10), ("b", 5), ("c", 3)];
        for (columns_max, expected) in [
            (None, [Some(10), Some(5), Some(3)]),
            (Some(22), [Some(10), Some(5), Some(3)]),
            (Some(21), [Some(9), Some(5), Some(3)]),
            (Some(18), [Some(6), Some(5), Some(3)]),
            // Without the third column there is width for the first one again.
            (Some(17), [Some(10), Some(5), None]),
            (Some(16), [Some(9), Some(5), None]),
            (Some(11), [Some(4), Some(5), None]),
            (Some(10), [Some(10), None, None]),
            (Some(1), [Some(4), None, None]),
        ] {
            let mut layout = Layout::default();
            assert_eq!(
                layout.fit(&wanted, &STEPS, columns_max),
                expected,
                "{columns_max:?}"
            );
        }
    }

    #[test]
    fn later_parts_keep_the_columns_of_the_first() {
        let mut layout = Layout::default();
        let first = layout.fit(&[("a", 10), ("b", 5), ("c", 3)], &STEPS, Some(17));
        assert_eq!(first, [Some(10), Some(5), None]);
        let second = layout.fit(&[("a", 2), ("b", 2), ("c", 2)], &STEPS, Some(17));
        assert_eq!(second, first);
        let third = layout.fit(&[("a", 11), ("b", 2), ("c", 2)], &STEPS, Some(17));
        assert_eq!(third, first);
        assert_eq!(layout.dropped, ["c"]);
    }
}
