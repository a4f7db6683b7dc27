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
