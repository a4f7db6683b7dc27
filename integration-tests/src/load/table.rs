//! Figures: medians, percentiles, and the tables that are printed.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// The 50th and 99th percentile and the last of a list of nanoseconds, in milliseconds.
pub fn spread(mut nanoseconds: Vec<u64>) -> Value {
    nanoseconds.sort_unstable();
    let at = |part: usize| {
        let place = (nanoseconds.len() * part / 100).min(nanoseconds.len().saturating_sub(1));
        nanoseconds.get(place).map(|&nanoseconds| milliseconds(nanoseconds))
    };
    json!({"p50": at(50), "p99": at(99), "last": at(100), "count": nanoseconds.len()})
}

#[expect(clippy::cast_precision_loss, reason = "durations here stay far below 2^52 nanoseconds")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// The middle value; of an even count the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(middle.checked_sub(1)?).map(|lower| f64::midpoint(*lower, upper))
}

/// A median of pairs with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The middle value.
    pub median: f64,
    /// The true median is between these two with a probability of at least 95 %.
    pub from: f64,
    /// See `from`.
    pub to: f64,
}

impl Interval {
    /// The interval of the median by the sign test, which assumes nothing about how the values are
    /// spread. `None` with fewer than six values: nothing can be said with 95 % then.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> =
            values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let count = sorted.len();
        // So many values may be left out at each end: the chance that fewer than `out + 1` of
        // `count` fair coins show heads is at most 2.5 %.
        let (mut out, mut chance, mut term) = (None, 0.0, 0.5_f64.powi(i32::try_from(count).ok()?));
        for heads in 0..count {
            chance += term;
            if chance > 0.025 {
                break;
            }
            out = Some(heads);
            term *= ratio(count - heads, heads + 1);
        }
        let out = out?;
        Some(Self {
            median: median(&sorted)?,
            from: *sorted.get(out)?,
            to: *sorted.get(count.checked_sub(out + 1)?)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs are small")]
fn ratio(upper: usize, lower: usize) -> f64 {
    upper as f64 / lower as f64
}

/// All figures: row, then system, then one value per run.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(String, BTreeMap<String, Vec<f64>>)>,
    systems: Vec<String>,
}

impl Table {
    /// A table with these columns; the first is the program under test.
    pub fn new(systems: Vec<String>) -> Self {
        Self { rows: Vec::new(), systems }
    }

    /// Notes one run's figure. Rows stand in the order of their first figure.
    pub fn note(&mut self, row: &str, system: &str, value: f64) {
        let place = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), BTreeMap::new()));
            self.rows.len() - 1
        });
        if let Some((_, figures)) = self.rows.get_mut(place) {
            figures.entry(system.to_owned()).or_default().push(value);
        }
    }

    /// The median of a row for a system.
    pub fn figure(&self, row: &str, system: &str) -> Option<f64> {
        let (_, figures) = self.rows.iter().find(|(name, _)| name == row)?;
        median(figures.get(system)?)
    }

    /// The ratios of the first system's figures to those of another one, run by run.
    fn pairs(&self, row: &str, system: &str) -> Vec<f64> {
        let figures = self.rows.iter().find(|(name, _)| name == row).map(|(_, figures)| figures);
        let of = |system: Option<&str>| {
            figures.zip(system).and_then(|(figures, system)| figures.get(system))
        };
        let (ours, theirs) = (of(self.systems.first().map(String::as_str)), of(Some(system)));
        ours.into_iter().flatten().zip(theirs.into_iter().flatten()).map(|(a, b)| a / b).collect()
    }

    /// Ratios to this system, run by run, with the interval of their median; nothing if there are too
    /// few runs or the system was not measured.
    pub fn print_pairs(&self, system: &str) -> String {
        let mut text = String::new();
        for (row, _) in &self.rows {
            let pairs = self.pairs(row, system);
            if let Some(Interval { median, from, to }) = Interval::of(&pairs) {
                let count = pairs.len();
                let _ = writeln!(
                    text,
                    "{row:<44}x{median:.3} of {system} [{from:.3}, {to:.3}], {count} pairs"
                );
            }
        }
        text
    }

    /// The table as text: medians, and behind each peer's the ratio of the first system to it.
    pub fn print(&self) -> String {
        let mut text = format!("{:<44}", "median of all runs");
        for system in &self.systems {
            let _ = write!(text, "{system:>20}");
        }
        text.push('\n');
        for (row, _) in &self.rows {
            let _ = write!(text, "{row:<44}");
            let ours = self.systems.first().and_then(|first| self.figure(row, first));
            for (place, system) in self.systems.iter().enumerate() {
                let cell = match (self.figure(row, system), ours) {
                    (None, _) => "-".to_owned(),
                    (Some(value), Some(ours)) if place > 0 && value > 0.0 => {
                        format!("{value:.2} (x{:.2})", ours / value)
                    }
                    (Some(value), _) => format!("{value:.2}"),
                };
                let _ = write!(text, "{cell:>20}");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_it() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::NAN, 1.0]), Some(1.0));
    }

    #[test]
    fn the_interval_leaves_out_one_of_nine_at_each_end() {
        let values = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let interval = Interval { median: 5.0, from: 2.0, to: 8.0 };
        assert_eq!(Interval::of(&values), Some(interval));
        assert_eq!(Interval::of(&values[..6]).map(|interval| interval.from), Some(1.0));
        assert_eq!(Interval::of(&values[..5]), None);
    }

    #[test]
    fn pairs_are_of_the_same_run() {
        let mut table = Table::new(vec!["ours".into(), "before".into()]);
        for run in 1..=6 {
            table.note("row", "ours", f64::from(run) * 2.0);
            table.note("row", "before", f64::from(run));
        }
        let text = table.print_pairs("before");
        assert!(text.contains("x2.000 of before [2.000, 2.000], 6 pairs"), "{text}");
    }

    #[test]
    fn percentiles_are_taken_from_the_sorted_list() {
        let millions = (1..=100).rev().map(|value| value * 1_000_000).collect();
        assert_eq!(
            spread(millions),
            json!({"p50": 51.0, "p99": 100.0, "last": 100.0, "count": 100})
        );
        assert_eq!(spread(Vec::new())["p50"], Value::Null);
    }

    #[test]
    fn ratios_are_of_the_first_system_to_the_others() {
        let mut table = Table::new(vec!["ours".into(), "peer".into(), "absent".into()]);
        table.note("row", "ours", 1.0);
        table.note("row", "peer", 2.0);
        let text = table.print();
        assert!(text.contains("2.00 (x0.50)") && text.trim_end().ends_with('-'), "{text}");
    }
}
