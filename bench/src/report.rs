//! Samples, and what is said about them: median, p10, p90 and the ratio to a baseline.
//!
//! A ratio is the median of the ratios of paired runs: a run and the run of the baseline beside it saw the same
//! machine, while two medians may come from different minutes.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::Outcome;

/// Runs of each subject, after one that is not counted.
pub(crate) const RUNS: usize = 9;

/// One line of the result.
#[derive(Serialize)]
struct Row {
    suite: &'static str,
    workload: &'static str,
    subject: &'static str,
    metric: &'static str,
    unit: &'static str,
    median: f64,
    p10: f64,
    p90: f64,
    runs: usize,
    ratio_to: Option<String>,
    ratio: Option<f64>,
}

/// What was measured of one subject.
pub(crate) struct Series {
    pub(crate) subject: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) samples: Vec<f64>,
}

pub(crate) struct Report {
    suite: &'static str,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(suite: &'static str) -> Self {
        Report { suite, rows: Vec::new() }
    }

    /// `baseline` was measured in the same runs.
    pub(crate) fn add(&mut self, workload: &'static str, series: &Series, baseline: Option<&Series>) {
        let Series { subject, metric, unit, samples } = series;
        let ratio = baseline.map(|baseline| {
            let ratios = samples.iter().zip(&baseline.samples).map(|(ours, theirs)| ours / theirs);
            percentile(ratios.collect(), 50)
        });
        self.rows.push(Row {
            suite: self.suite,
            workload,
            subject,
            metric,
            unit,
            median: rounded(percentile(samples.clone(), 50), 10.0),
            p10: rounded(percentile(samples.clone(), 10), 10.0),
            p90: rounded(percentile(samples.clone(), 90), 10.0),
            runs: samples.len(),
            ratio_to: baseline.map(|baseline| format!("{}/{}", baseline.subject, baseline.metric)),
            ratio: ratio.map(|ratio| rounded(ratio, 1000.0)),
        });
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["workload", "subject", "metric", "median", "p10", "p90", "unit", "ratio", "to"]);
        for row in &self.rows {
            table.add_row([
                row.workload.to_owned(),
                row.subject.to_owned(),
                row.metric.to_owned(),
                format!("{:.0}", row.median),
                format!("{:.0}", row.p10),
                format!("{:.0}", row.p90),
                row.unit.to_owned(),
                row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                row.ratio_to.clone().unwrap_or_default(),
            ]);
        }
        for column in 3..6 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    pub(crate) fn json(&self) -> Outcome<String> {
        let mut text = serde_json::to_string_pretty(&self.rows)?;
        text.push('\n');
        Ok(text)
    }
}

/// Runs each subject in turn, each turn beginning with another one. The first turn warms up and is not counted.
pub(crate) fn interleave<const N: usize>(
    subjects: [&mut dyn FnMut() -> Outcome<f64>; N],
) -> Outcome<[Vec<f64>; N]> {
    let mut samples = [const { Vec::new() }; N];
    for run in 0..=RUNS {
        for turn in 0..N {
            let subject = (run + turn) % N;
            let sample = subjects[subject]()?;
            if run > 0 {
                samples[subject].push(sample);
            }
        }
    }
    Ok(samples)
}

/// Nanoseconds of one of `count` equal parts.
pub(crate) fn ns_each(elapsed: Duration, count: u64) -> f64 {
    elapsed.as_nanos() as f64 / count as f64
}

/// Between two samples the value is interpolated.
fn percentile(mut samples: Vec<f64>, percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    let place = (samples.len() - 1) as f64 * percent as f64 / 100.0;
    let (below, above) = (samples[place.floor() as usize], samples[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[f64]) -> Series {
        Series { subject: "one", metric: "ns", unit: "ns", samples: samples.to_vec() }
    }

    #[test]
    fn a_percentile_lies_between_its_samples() {
        assert_eq!(percentile(vec![3.0, 1.0, 2.0], 50), 2.0);
        assert_eq!(percentile(vec![1.0, 2.0], 50), 1.5);
        assert_eq!(percentile(vec![7.0], 90), 7.0);
    }

    #[test]
    fn a_ratio_is_taken_run_by_run() {
        let mut report = Report::new("suite");
        report.add("work", &series(&[2.0, 20.0, 200.0]), Some(&series(&[1.0, 10.0, 100.0])));
        assert_eq!(report.rows[0].ratio, Some(2.0));
        report.add("work", &series(&[2.0]), None);
        assert_eq!((report.rows[1].ratio, report.rows[1].ratio_to.as_deref()), (None, None));
    }
}
