//! Figures of all rounds, and the table of them.

use super::common::figure;

/// Values by subject and measure, one for each round, in the order in which they came.
#[derive(Default)]
pub(crate) struct Figures(Vec<(String, String, Vec<f64>)>);

impl Figures {
    pub(crate) fn add(&mut self, subject: &str, measures: &[(String, f64)]) {
        for (measure, value) in measures {
            match self.place(subject, measure) {
                Some(place) => self.0[place].2.push(*value),
                None => self
                    .0
                    .push((subject.to_owned(), measure.clone(), vec![*value])),
            }
        }
    }

    /// Adds a figure that is measured once, and prints it.
    pub(crate) fn add_printed(&mut self, subject: &str, measure: &str, value: f64) {
        self.add(subject, &[(measure.to_owned(), value)]);
        figure(subject, measure, value);
    }

    /// The median of the rounds.
    pub(crate) fn get(&self, subject: &str, measure: &str) -> Option<f64> {
        self.place(subject, measure)
            .map(|place| median(&self.0[place].2))
    }

    pub(crate) fn ratio(&self, left: &str, right: &str, measure: &str) -> Option<f64> {
        Some(self.get(left, measure)? / self.get(right, measure)?)
    }

    pub(crate) fn print(&self) {
        for (subject, measure, values) in &self.0 {
            figure(subject, measure, median(values));
        }
    }

    fn place(&self, subject: &str, measure: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|(of, what, _)| of == subject && what == measure)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All subjects, with how many times as fast and as small auditlite is.
pub(crate) fn table(figures: &Figures, subjects: &[String]) {
    eprintln!(
        "\n{:<17}{:>13}{:>9}{:>11}{:>11}{:>11}{:>12}{:>10}{:>10}{:>10}",
        "",
        "lifecycles/s",
        "MB/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "B on disk",
        "peak MiB",
        "× faster",
        "× smaller"
    );
    for subject in subjects {
        let cell = |measure: &str, width: usize, decimals: usize| {
            text(figures.get(subject, measure), width, decimals)
        };
        let (mut faster, mut smaller) = (None, None);
        if subject != "auditlite" && subject != "auditlite_shed" {
            faster = figures.ratio("auditlite", subject, "lifecycles_per_s");
            smaller = figures.ratio(subject, "auditlite", "bytes_per_lifecycle");
        }
        eprintln!(
            "{subject:<17}{}{}{}{}{}{}{}{}{}",
            cell("lifecycles_per_s", 13, 0),
            cell("body_mb_per_s", 9, 1),
            cell("thread_p50_us", 11, 2),
            cell("thread_p99_us", 11, 2),
            cell("thread_p999_us", 11, 2),
            cell("bytes_per_lifecycle", 12, 0),
            cell("peak_memory_mib", 10, 1),
            text(faster, 10, 2),
            text(smaller, 10, 2),
        );
    }
    eprintln!(
        "\nauditlite waits for capacity here, so that every lifecycle counts; auditlite_shed is its default, beyond\n\
         capacity, with the latencies of what it let in. × faster, × smaller: how auditlite compares. The\n\
         ceiling's latencies are a transaction's, divided by its lifecycles."
    );
}

fn text(value: Option<f64>, width: usize, decimals: usize) -> String {
    value.map_or_else(
        || format!("{:>width$}", "-"),
        |value| format!("{value:>width$.decimals$}"),
    )
}
