//! Samples, and what is said about them: median, best, p10, p90, the ratio to a baseline and the goal.
//!
//! A ratio is the median of the ratios of paired runs: a run and the run of the baseline beside it saw the same
//! machine, while two medians may come from different minutes. A goal is held against the median.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::Outcome;

/// Runs of each subject, after one that is not counted, unless a suite says something else.
pub(crate) const RUNS: usize = 9;

/// One line of the result.
#[derive(Serialize)]
struct Row {
    suite: &'static str,
    workload: &'static str,
    subject: &'static str,
    metric: String,
    unit: &'static str,
    median: f64,
    p10: f64,
    p90: f64,
    runs: usize,
    ratio_to: Option<String>,
    ratio: Option<f64>,
    /// The smallest sample.
    best: f64,
    goal: Option<f64>,
}

/// What ours aims at: the median is to be no more than `at_most`.
pub(crate) struct Goal {
    pub(crate) workload: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) at_most: f64,
}

/// What was measured of one subject.
pub(crate) struct Series<'a> {
    pub(crate) subject: &'static str,
    pub(crate) metric: &'a str,
    pub(crate) unit: &'static str,
    pub(crate) samples: Vec<f64>,
}

pub(crate) struct Report {
    suite: &'static str,
    ours: &'static str,
    goals: &'static [Goal],
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// `goals` are those of the subject `ours`.
    pub(crate) fn new(suite: &'static str, ours: &'static str, goals: &'static [Goal]) -> Self {
        Report { suite, ours, goals, rows: Vec::new(), notes: Vec::new() }
    }

    /// Something that was not measured, and why. Stands under the table.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// `baseline` was measured in the same runs.
    pub(crate) fn add(&mut self, workload: &'static str, series: &Series<'_>, baseline: Option<&Series<'_>>) {
        let Series { subject, metric, unit, samples } = series;
        let ratio = baseline.map(|baseline| {
            let ratios = samples.iter().zip(&baseline.samples).map(|(ours, theirs)| ours / theirs);
            percentile(ratios.collect(), 50)
        });
        let goal = self
            .goals
            .iter()
            .find(|goal| *subject == self.ours && (goal.workload, goal.metric) == (workload, *metric));
        self.rows.push(Row {
            suite: self.suite,
            workload,
            subject,
            metric: (*metric).to_owned(),
            unit,
            median: rounded(percentile(samples.clone(), 50), 100.0),
            p10: rounded(percentile(samples.clone(), 10), 100.0),
            p90: rounded(percentile(samples.clone(), 90), 100.0),
            runs: samples.len(),
            ratio_to: baseline.map(|baseline| format!("{}/{}", baseline.subject, baseline.metric)),
            // Nothing of ours to nothing of theirs is no ratio.
            ratio: ratio.filter(|ratio| ratio.is_finite()).map(|ratio| rounded(ratio, 1000.0)),
            best: rounded(percentile(samples.clone(), 0), 100.0),
            goal: goal.map(|goal| goal.at_most),
        });
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "workload", "subject", "metric", "median", "best", "p10", "p90", "unit", "ratio", "to", "goal",
        ]);
        for row in &self.rows {
            table.add_row([
                row.workload.to_owned(),
                row.subject.to_owned(),
                row.metric.clone(),
                figure(row.median),
                figure(row.best),
                figure(row.p10),
                figure(row.p90),
                row.unit.to_owned(),
                row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                row.ratio_to.clone().unwrap_or_default(),
                row.goal.map(|goal| against(goal, row.median)).unwrap_or_default(),
            ]);
        }
        for column in 3..7 {
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
    take_turns(N, RUNS, |subject, run| {
        let sample = subjects[subject]()?;
        if run > 0 {
            samples[subject].push(sample);
        }
        Ok(())
    })?;
    Ok(samples)
}

/// Calls `turn` with the number of each subject and of the run. Run 0 is to warm up.
pub(crate) fn take_turns(
    subjects: usize,
    runs: usize,
    mut turn: impl FnMut(usize, usize) -> Outcome<()>,
) -> Outcome<()> {
    for run in 0..=runs {
        for place in 0..subjects {
            turn((run + place) % subjects, run)?;
        }
    }
    Ok(())
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

fn figure(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn against(goal: f64, median: f64) -> String {
    let verdict = if median <= goal { "reached" } else { "not reached" };
    format!("<= {goal}, {verdict}")
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOALS: &[Goal] = &[Goal { workload: "work", metric: "ns", at_most: 2.0 }];

    fn series(samples: &[f64]) -> Series<'static> {
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
        let mut report = Report::new("suite", "one", GOALS);
        report.add("work", &series(&[2.0, 20.0, 200.0]), Some(&series(&[1.0, 10.0, 100.0])));
        assert_eq!(report.rows[0].ratio, Some(2.0));
        report.add("work", &series(&[2.0]), None);
        assert_eq!((report.rows[1].ratio, report.rows[1].ratio_to.as_deref()), (None, None));
    }

    #[test]
    fn a_goal_is_held_against_ours_alone_and_at_the_bound_it_is_reached() {
        let mut report = Report::new("suite", "one", GOALS);
        report.add("work", &series(&[2.0]), None);
        report.add("work", &Series { subject: "two", ..series(&[2.0]) }, None);
        report.add("other", &series(&[2.0]), None);
        assert_eq!(report.rows.iter().map(|row| row.goal).collect::<Vec<_>>(), [Some(2.0), None, None]);
        assert_eq!([against(2.0, 2.0), against(2.0, 2.01)], ["<= 2, reached", "<= 2, not reached"]);
    }

    #[test]
    fn every_run_has_every_subject_once_and_begins_with_another_one() {
        let mut turns = Vec::new();
        take_turns(2, 1, |subject, run| {
            turns.push((run, subject));
            Ok(())
        })
        .expect("no turn fails");
        assert_eq!(turns, [(0, 0), (0, 1), (1, 1), (1, 0)]);
    }
}
