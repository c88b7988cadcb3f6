//! The machine that measures: what it is, how busy it is, and what of it this process has.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Outcome;

/// What a table needs beside it to be read: date, command, machine, and the versions that were measured.
pub(crate) fn description(packages: &[&str]) -> Outcome<String> {
    let command: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let cores = std::thread::available_parallelism()?;
    let gib = airssys_osl::memory_bytes().unwrap_or(0) as f64 / (1u64 << 30) as f64;
    let release = proc("/proc/sys/kernel", "osrelease")?;
    let versions = packages.iter().filter_map(|package| version(package)).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "{date}, `cargo run --release -p airssys-bench -- {command}`\n\
         {arch}, {processor}, {cores} cores, {gib:.0} GiB, {os} {release}\n\
         {versions}",
        date = today()?,
        command = command.join(" "),
        arch = std::env::consts::ARCH,
        processor = processor()?,
        os = std::env::consts::OS,
        release = release.trim(),
    ))
}

/// The average number of running threads over one minute.
pub(crate) fn load() -> Outcome<String> {
    Ok(proc("/proc", "loadavg")?.split_whitespace().next().unwrap_or("unknown").to_owned())
}

/// Exact, unlike the counters that the system keeps per processor.
pub(crate) fn resident_bytes() -> Outcome<f64> {
    kib_of(&proc("/proc/self", "smaps_rollup")?, "Rss:")
}

/// What the system could still give.
pub(crate) fn available_bytes() -> Outcome<f64> {
    kib_of(&proc("/proc", "meminfo")?, "MemAvailable:")
}

fn kib_of(text: &str, name: &'static str) -> Outcome<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or(NotTold { name })?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}

fn processor() -> Outcome<String> {
    let text = proc("/proc", "cpuinfo")?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    Ok(name.map_or("unnamed processor", |name| name.trim_matches([' ', '\t', ':'])).to_owned())
}

fn proc(folder: &str, name: &str) -> Outcome<String> {
    Ok(airssys_osl::Root::open(Path::new(folder))?.read_to_string(Path::new(name), 1 << 20)?)
}

/// From the lock file that this was built with.
fn version(package: &str) -> Option<String> {
    let lock = include_str!("../../Cargo.lock");
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(format!("{package} {}", after.split('"').next()?))
}

/// Year, month and day in UTC.
fn today() -> Outcome<String> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let (year, month, day) = civil(days);
    Ok(format!("{year}-{month:02}-{day:02}"))
}

/// The Gregorian date of a number of days since 1970-01-01. Years are counted from March, so that the leap day is last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[derive(Debug, thiserror::Error)]
#[error("the system does not tell `{name}`")]
struct NotTold {
    name: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_date_before_and_after_a_leap_day() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!([civil(11_016), civil(11_017)], [(2000, 2, 29), (2000, 3, 1)]);
        assert_eq!(civil(20_778), (2026, 11, 21));
    }

    #[test]
    fn a_package_has_a_version_if_the_lock_file_has_it() {
        assert!(version("tokio").is_some_and(|version| version.starts_with("tokio 1.")));
        assert_eq!(version("no-such-package"), None);
    }
}
