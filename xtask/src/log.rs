//! Writes an access log like that of a shop's web server, for the example and for measuring.
//!
//! The same arguments give the same bytes. A log covers one day, whatever its length. Malformed lines are by turns of
//! the kind that makes the example's `parse` panic and of the kind that it rejects; standard error says how many.

use anyhow::{Context as _, bail, ensure};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

const USAGE: &str = "usage: cargo xtask log --lines N [--malformed PART] [--seed NUMBER] > FILE";
const CLIENTS: u64 = 5000;
const DAY_SECONDS: u64 = 86_400;

pub(crate) struct Options {
    pub(crate) lines: u64,
    /// The part of the lines, between 0 and 1.
    pub(crate) malformed: f64,
    pub(crate) seed: u64,
}

/// How many of the lines are malformed, by what the example's `parse` does with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) panics: u64,
    pub(crate) rejects: u64,
}

/// `cargo xtask log`.
pub(crate) fn main(arguments: &[String]) -> anyhow::Result<()> {
    let options = Options::read(arguments)?;
    let Malformed { panics, rejects } = write_to(std::io::stdout().lock(), &options)?;
    eprintln!("{} lines, of which {panics} make parse panic and {rejects} are rejected", options.lines);
    Ok(())
}

/// Writes a log to a file, in place of what it held.
pub(crate) fn write_file(path: &Path, options: &Options) -> anyhow::Result<Malformed> {
    let file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    write_to(file, options)
}

fn write_to(output: impl Write, options: &Options) -> anyhow::Result<Malformed> {
    let mut output = std::io::BufWriter::new(output);
    let mut log = Log::new(options);
    let mut line = String::new();
    for number in 0..options.lines {
        line.clear();
        log.write(number, &mut line);
        line.push('\n');
        output.write_all(line.as_bytes()).context("write the log")?;
    }
    output.flush().context("write the log")?;
    let Log { panics, rejects, .. } = log;
    Ok(Malformed { panics, rejects })
}

impl Options {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut lines = None;
        let mut malformed = 0.0;
        let mut seed = 1;
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { bail!("{} needs a value\n\n{USAGE}", pair[0]) };
            match name.as_str() {
                "--lines" => lines = Some(number(name, value)?),
                "--malformed" => malformed = number(name, value)?,
                "--seed" => seed = number(name, value)?,
                unknown => bail!("log has no option {unknown}\n\n{USAGE}"),
            }
        }
        ensure!(
            (0.0..=1.0).contains(&malformed),
            "--malformed {malformed} is not between 0 and 1\n\n{USAGE}"
        );
        Ok(Self { lines: lines.with_context(|| format!("say how many lines\n\n{USAGE}"))?, malformed, seed })
    }
}

fn number<T>(name: &str, value: &str) -> anyhow::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    value.parse().with_context(|| format!("read {name} {value}"))
}

/// What a part of the site is like.
struct Route {
    weight: u64,
    method: &'static str,
    path: &'static str,
    tail: Tail,
    bytes: f64,
    ms: f64,
    /// The part of its requests that fails on the server.
    errors: f64,
}

/// What follows the path.
enum Tail {
    Nothing,
    /// One of so many numbers.
    Number(u64),
    Query(&'static [&'static str]),
}

const fn route(
    weight: u64,
    method: &'static str,
    path: &'static str,
    tail: Tail,
    bytes: f64,
    ms: f64,
    errors: f64,
) -> Route {
    Route { weight, method, path, tail, bytes, ms, errors }
}

const WORDS: &[&str] = &["lamp", "desk", "green+chair", "oak", "shelf", "rug", "mirror", "sofa+bed", "clock"];

const ROUTES: &[Route] = &[
    route(140, "GET", "/", Tail::Nothing, 18_000.0, 22.0, 0.001),
    route(80, "GET", "/products", Tail::Nothing, 42_000.0, 35.0, 0.002),
    route(280, "GET", "/products/", Tail::Number(4000), 26_000.0, 28.0, 0.003),
    route(110, "GET", "/search?q=", Tail::Query(WORDS), 31_000.0, 74.0, 0.008),
    route(40, "POST", "/cart", Tail::Nothing, 900.0, 31.0, 0.004),
    route(60, "GET", "/cart/", Tail::Number(60_000), 7_000.0, 26.0, 0.002),
    route(25, "POST", "/checkout/", Tail::Number(60_000), 1_400.0, 190.0, 0.031),
    route(30, "POST", "/login", Tail::Nothing, 650.0, 95.0, 0.002),
    route(35, "GET", "/orders/", Tail::Number(90_000), 5_200.0, 41.0, 0.003),
    route(45, "GET", "/recommendations/", Tail::Number(4000), 3_300.0, 120.0, 0.085),
    route(15, "GET", "/reports/", Tail::Number(365), 210_000.0, 850.0, 0.062),
    route(90, "GET", "/static/app.css", Tail::Nothing, 14_000.0, 1.4, 0.0),
    route(40, "GET", "/static/app.js", Tail::Nothing, 88_000.0, 2.1, 0.0),
    route(10, "GET", "/health", Tail::Nothing, 15.0, 0.6, 0.0),
];

const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "curl/8.17.0",
    "python-requests/2.32.5",
    "Go-http-client/2.0",
    "-",
];

const REFERRERS: &[&str] =
    &["-", "-", "https://shop.example/", "https://shop.example/products", "https://search.example/"];

/// What is wrong with a malformed line.
#[derive(Clone, Copy)]
enum Fault {
    BrokenStatus,
    NoPath,
    Truncated,
    BrokenSize,
    NoTime,
}

/// Kinds that panic and kinds that are rejected by turns.
const FAULTS: [Fault; 6] = [
    Fault::BrokenStatus,
    Fault::NoPath,
    Fault::Truncated,
    Fault::BrokenSize,
    Fault::BrokenStatus,
    Fault::NoTime,
];

struct Log {
    random: Random,
    lines: u64,
    malformed: f64,
    panics: u64,
    rejects: u64,
}

impl Log {
    fn new(options: &Options) -> Self {
        let Options { lines, malformed, seed } = *options;
        Self { random: Random(seed), lines, malformed, panics: 0, rejects: 0 }
    }

    fn write(&mut self, number: u64, line: &mut String) {
        let fault = self.fault();
        let random = &mut self.random;
        // The smaller of two numbers: few clients ask often, many seldom.
        let client = random.below(CLIENTS).min(random.below(CLIENTS));
        let route = random.weighted();
        let second = (u128::from(number) * u128::from(DAY_SECONDS) / u128::from(self.lines)) as u64;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);

        address(client, line);
        let mut add = |text: std::fmt::Arguments<'_>| {
            line.write_fmt(text).expect("writing to a string does not fail");
        };
        add(format_args!(" - - [21/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \"{}", route.method));
        match fault {
            Some(Fault::NoPath) => add(format_args!("\" ")),
            _ => {
                add(format_args!(" {}", route.path));
                match route.tail {
                    Tail::Nothing => {}
                    Tail::Number(count) => add(format_args!("{}", random.below(count) + 1)),
                    Tail::Query(words) => add(format_args!("{}", random.one_of(words))),
                }
                add(format_args!(" HTTP/1.1\" "));
            }
        }
        let status = random.status(route);
        match fault {
            Some(Fault::BrokenStatus) => add(format_args!("{}xx ", status / 100)),
            _ => add(format_args!("{status} ")),
        }
        match (fault, status) {
            (Some(Fault::BrokenSize), _) => add(format_args!("unknown")),
            (_, 304) => add(format_args!("-")),
            (_, _) => add(format_args!("{}", random.lognormal(route.bytes, 0.4) as u64)),
        }
        let agent = AGENTS[(mixed(client) % AGENTS.len() as u64) as usize];
        add(format_args!(" \"{}\" \"", random.one_of(REFERRERS)));
        // A request that fails is one that waited for something first.
        let slowness = if status >= 500 { 8.0 } else { 1.0 };
        let ms = random.lognormal(route.ms * slowness, 0.6);
        match fault {
            Some(Fault::Truncated) => add(format_args!("{}", &agent[..agent.len() / 2])),
            Some(Fault::NoTime) => add(format_args!("{agent}\"")),
            _ => add(format_args!("{agent}\" {ms:.1}")),
        }
    }

    fn fault(&mut self) -> Option<Fault> {
        if self.random.part() >= self.malformed {
            return None;
        }
        let fault = FAULTS[((self.panics + self.rejects) % FAULTS.len() as u64) as usize];
        match fault {
            Fault::BrokenStatus | Fault::Truncated => self.panics += 1,
            Fault::NoPath | Fault::BrokenSize | Fault::NoTime => self.rejects += 1,
        }
        Some(fault)
    }
}

/// From the ranges that are reserved for documentation, so that no line names anyone.
fn address(client: u64, line: &mut String) {
    let hash = mixed(client);
    let written = match hash % 8 {
        0 => write!(
            line,
            "2001:db8:{:x}:{:x}::{:x}",
            hash >> 8 & 0xfff,
            hash >> 20 & 0xff,
            hash >> 28 & 0xffff
        ),
        1 | 2 => write!(line, "192.0.2.{}", hash >> 8 & 0xff),
        3 | 4 => write!(line, "198.51.100.{}", hash >> 8 & 0xff),
        5 | 6 => write!(line, "203.0.113.{}", hash >> 8 & 0xff),
        _ => write!(line, "198.18.{}.{}", hash >> 8 & 0xff, hash >> 16 & 0xff),
    };
    written.expect("writing to a string does not fail");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// At least 0, less than 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }

    fn weighted(&mut self) -> &'static Route {
        let mut left = self.below(ROUTES.iter().map(|route| route.weight).sum());
        let chosen = ROUTES.iter().find(|route| match left.checked_sub(route.weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        chosen.expect("the number is below the sum of the weights")
    }

    fn status(&mut self, route: &Route) -> u16 {
        let part = self.part();
        if part < route.errors {
            return [500, 502, 503, 504][self.below(4) as usize];
        }
        match (self.below(100), route.method) {
            (0, _) => 404,
            (1..12, "GET") if route.path.starts_with("/static") => 304,
            (1..70, "POST") => 302,
            (_, _) => 200,
        }
    }

    /// Its median, and how far it spreads on the logarithm.
    fn lognormal(&mut self, median: f64, spread: f64) -> f64 {
        // The sum of twelve is close enough to normal, with no tail beyond six.
        let normal = (0..12).map(|_| self.part()).sum::<f64>() - 6.0;
        median * (normal * spread).exp()
    }
}

fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(options: &Options) -> (Vec<String>, Log) {
        let mut log = Log::new(options);
        let write = |number| {
            let mut line = String::new();
            log.write(number, &mut line);
            line
        };
        ((0..options.lines).map(write).collect(), log)
    }

    #[test]
    fn the_same_arguments_give_the_same_log_and_another_seed_does_not() {
        let log = |seed| lines(&Options { lines: 200, malformed: 0.1, seed }).0;
        assert_eq!(log(1), log(1));
        assert_ne!(log(1), log(2));
    }

    #[test]
    fn a_line_has_a_path_a_status_and_a_time() {
        for line in lines(&Options { lines: 2000, malformed: 0.0, seed: 3 }).0 {
            let parts: Vec<&str> = line.split('"').collect();
            assert_eq!(parts.len(), 7, "{line}");
            assert!(parts[1].split(' ').nth(1).is_some_and(|path| path.starts_with('/')), "{line}");
            assert!(
                parts[2].trim().split(' ').next().is_some_and(|status| status.parse::<u16>().is_ok()),
                "{line}"
            );
            assert!(parts[6].trim().parse::<f64>().is_ok(), "{line}");
        }
    }

    #[test]
    fn half_of_the_malformed_lines_panic_and_half_are_rejected() {
        let (_, log) = lines(&Options { lines: 10_000, malformed: 0.05, seed: 4 });
        assert!((400..600).contains(&(log.panics + log.rejects)));
        assert!(log.panics.abs_diff(log.rejects) <= 1);
        let (_, log) = lines(&Options { lines: 10_000, malformed: 0.0, seed: 4 });
        assert_eq!(log.panics + log.rejects, 0);
    }

    #[test]
    fn an_option_that_is_not_understood_is_refused() {
        for arguments in [&["--lines"][..], &["--lines", "many"], &["--line", "1"], &["--seed", "1"]] {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            assert!(Options::read(&arguments).is_err(), "{arguments:?}");
        }
        let out_of_range = ["--lines", "1", "--malformed", "2"].map(str::to_owned);
        assert!(Options::read(&out_of_range).is_err());
    }
}
