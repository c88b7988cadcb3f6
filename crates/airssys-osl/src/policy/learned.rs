//! A policy that allows what somebody was seen to need, and nothing else.
//!
//! Each access becomes a pattern of its own characters. Files of one folder may be drawn together to `folder/*`, when they are
//! many and the same was done to each, and that allows more than was seen. So does what no rule can tell apart: a name stands
//! for whatever public address it leads to, and once it led to a private one for those as well; an own end whose port the
//! system picks stands for all ports of its address. Nothing else does. The same accesses give the same text, in whatever
//! order they came.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::access::{Access, AddressKind, FileVerb, Host, Name, NetVerb, Subject, UnixVerb};
use crate::audit::Record;
use crate::document::TEXT_BYTES_MAX;

use super::PATTERNS_MAX;
use super::pattern::{Pattern, Word};

/// Different accesses that are learned from.
const ACCESSES_MAX: usize = 100_000;
/// Accesses that cannot be learned and are named.
const UNLEARNED_MAX: usize = 100;

/// Gathers the accesses of a subject.
#[derive(Debug)]
pub struct Learner {
    subject: Subject,
    files_max: usize,
    /// By how they are shown, so that they are in an order.
    accesses: BTreeMap<String, Access>,
    unlearned: Unlearned,
}

#[derive(Debug, Default)]
struct Unlearned {
    named: BTreeSet<String>,
    len: u64,
}

/// What was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// A policy with one subject.
    pub text: String,
    /// How many different accesses it is made from.
    pub accesses: usize,
    /// Accesses that no rule can name, because they are too long or not recorded whole: the first of them.
    pub unlearned: Vec<String>,
    /// How many of those there were.
    pub unlearned_len: u64,
}

/// Why nothing is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// There are too many accesses.
    #[error("learn from more than {ACCESSES_MAX} different accesses")]
    TooMany,
    /// The text is longer than a policy may be.
    #[error("write a policy of {bytes} bytes: at most {TEXT_BYTES_MAX} are read; draw files together")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

/// Rules by what they are about, each with its patterns.
#[derive(Default)]
struct Rules {
    files: BTreeMap<Vec<FileVerb>, BTreeSet<String>>,
    net: BTreeMap<NetVerb, BTreeMap<String, BTreeSet<u16>>>,
    /// Names that led to an address of the own network.
    net_private: BTreeMap<NetVerb, BTreeMap<String, BTreeSet<u16>>>,
    /// Own ends whose port the system picks.
    net_any_port: BTreeMap<NetVerb, BTreeSet<String>>,
    unix: BTreeMap<UnixVerb, BTreeSet<String>>,
    run: BTreeSet<(String, Vec<String>)>,
    env: BTreeSet<String>,
    secrets: BTreeSet<String>,
    host: BTreeSet<String>,
    own: BTreeMap<String, BTreeSet<String>>,
}

impl Learner {
    /// For this subject. Every file is named.
    pub fn new(subject: Subject) -> Self {
        Self { subject, files_max: usize::MAX, accesses: BTreeMap::new(), unlearned: Unlearned::default() }
    }

    /// Draws files of one folder together when the same was done to more than so many of them. Names that begin with a dot
    /// are named all the same.
    pub fn drawing_together(self, files_max: usize) -> Self {
        Self { files_max, ..self }
    }

    /// Learns an access.
    pub fn add(&mut self, access: &Access) -> Result<(), LearnError> {
        let shown = access.to_string();
        if self.accesses.len() >= ACCESSES_MAX && !self.accesses.contains_key(&shown) {
            return Err(LearnError::TooMany);
        }
        self.accesses.insert(shown, access.clone());
        Ok(())
    }

    /// Learns the accesses of a record of this subject: one of what was permitted, by a rule or because it was observed. Those
    /// of denials only with `denials`, because not all that somebody wants is meant to be allowed.
    pub fn add_record(&mut self, record: &Record, denials: bool) -> Result<(), LearnError> {
        let is_meant = match record.kind() {
            "intent" | "observed" => true,
            "denial" | "denials" => denials,
            _ => false,
        };
        if !is_meant || record.text("subject") != Some(self.subject.as_str()) {
            return Ok(());
        }
        let mut shown = record.accesses().peekable();
        if shown.peek().is_none() {
            self.unlearned.add(&format!("record {}", record.seq()));
        }
        for shown in shown {
            match Access::of_record(shown) {
                Some(access) => self.add(&access)?,
                None => self.unlearned.add(shown),
            }
        }
        Ok(())
    }

    /// The policy.
    pub fn finish(self) -> Result<Learned, LearnError> {
        let Self { subject, files_max, accesses, mut unlearned } = self;
        let len = accesses.len();
        let mut rules = Rules::default();
        let mut files: BTreeMap<(Name, String), BTreeSet<FileVerb>> = BTreeMap::new();
        for (shown, access) in &accesses {
            let learned = match access {
                Access::File { verb, path } => {
                    let pattern = file_pattern(path.path.as_str());
                    if Pattern::parse(&pattern).is_ok() {
                        files
                            .entry((path.root.clone(), path.path.as_str().to_owned()))
                            .or_default()
                            .insert(*verb);
                        Some(())
                    } else {
                        None
                    }
                }
                other => rules.add(other),
            };
            if learned.is_none() {
                unlearned.add(shown);
            }
        }
        rules.add_files(files, files_max);
        let text = rules.write(&subject);
        if text.len() > TEXT_BYTES_MAX {
            return Err(LearnError::TooLarge { bytes: text.len() });
        }
        Ok(Learned {
            text,
            accesses: len,
            unlearned: unlearned.named.into_iter().collect(),
            unlearned_len: unlearned.len,
        })
    }
}

impl Unlearned {
    fn add(&mut self, shown: &str) {
        self.len += 1;
        if self.named.len() < UNLEARNED_MAX {
            self.named.insert(shown.to_owned());
        }
    }
}

impl Rules {
    /// `None` if no rule can say it.
    fn add(&mut self, access: &Access) -> Option<()> {
        match access {
            // Those are looked at together.
            Access::File { .. } => {}
            // No rule names one.
            Access::Net { verb: NetVerb::Listen | NetVerb::Bind, host: Host::Named(_), .. } => return None,
            Access::Net { verb: verb @ (NetVerb::Listen | NetVerb::Bind), host, port: None } => {
                self.net_any_port.entry(*verb).or_default().insert(format!("{host}:*"));
            }
            // A name is a public one unless it is seen where it leads; what a rule for the one says, one for the other repeats.
            Access::NetAt { verb, name, port, address } => {
                let net = match AddressKind::of(*address) {
                    AddressKind::Public => &mut self.net,
                    AddressKind::Loopback | AddressKind::Private => &mut self.net_private,
                    // No rule allows it.
                    AddressKind::Special => return None,
                };
                let host = Host::Named(name.clone()).to_string();
                net.entry(*verb).or_default().entry(host).or_default().insert(port.get());
            }
            Access::Unix { verb, path } => {
                let pattern = file_pattern(path.path.as_str());
                Pattern::parse(&pattern).ok()?;
                self.unix.entry(*verb).or_default().insert(format!("{}:{pattern}", path.root));
            }
            Access::Net { verb, host, port } => {
                let ports = self.net.entry(*verb).or_default().entry(host.to_string()).or_default();
                ports.extend(port.map(|port| port.get()));
            }
            Access::Run { program, args } => {
                let is_plain = program.starts_with('/')
                    && !program.contains('\0')
                    && !program.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
                let words: Vec<String> = args.iter().map(|arg| literal(arg)).collect();
                let fit = words.iter().all(|word| Word::parse(word).is_ok());
                (is_plain && fit && words.len() <= PATTERNS_MAX).then_some(())?;
                self.run.insert((program.to_string(), words));
            }
            Access::Env { name } => {
                self.env.insert(literal(name.as_str()));
            }
            Access::Secret { name } => {
                self.secrets.insert(name_pattern(name)?);
            }
            Access::Host { what } => {
                self.host.insert(what.word().to_owned());
            }
            Access::Own { verb, name } => {
                let names = self.own.entry(verb.as_str().to_owned()).or_default();
                names.insert(name_pattern(name)?);
            }
        }
        Some(())
    }

    fn add_files(&mut self, files: BTreeMap<(Name, String), BTreeSet<FileVerb>>, files_max: usize) {
        // By root, folder and what was done: the names there.
        let mut folders: BTreeMap<(Name, String, Vec<FileVerb>), Vec<String>> = BTreeMap::new();
        for ((root, path), verbs) in files {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            folders.entry((root, folder, verbs.into_iter().collect())).or_default().push(path);
        }
        for ((root, folder, verbs), paths) in folders {
            // A star matches no name that begins with a dot, and the root itself is in no folder.
            let is_open = |path: &&String| {
                !path.is_empty() && !path.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
            };
            let draws_together = paths.iter().filter(is_open).count() > files_max;
            let patterns = self.files.entry(verbs).or_default();
            for path in &paths {
                let pattern = match draws_together && is_open(&path) {
                    true if folder.is_empty() => "*".to_owned(),
                    true => format!("{}/*", literal(&folder)),
                    false => file_pattern(path),
                };
                patterns.insert(format!("{root}:{pattern}"));
            }
        }
    }

    fn write(&self, subject: &Subject) -> String {
        let mut text = format!("version = 1\n\n[[subject]]\nname = {}\n", toml(subject.as_str()));
        let mut rule = |lines: &[String]| {
            text.push_str("\n[[subject.allow]]\n");
            lines.iter().for_each(|line| text.extend([line, "\n"]));
        };
        for (verbs, patterns) in &self.files {
            let verbs: Vec<String> = verbs.iter().map(|verb| verb.word().to_owned()).collect();
            for chunk in chunks(patterns) {
                rule(&[list("files", &chunk), list("verbs", &verbs)]);
            }
        }
        for (is_private, net) in [(false, &self.net), (true, &self.net_private)] {
            for (verb, hosts) in net {
                let ends: BTreeSet<String> =
                    hosts.iter().flat_map(|(host, ports)| ends(host, ports)).collect();
                for chunk in chunks(&ends) {
                    let mut lines = vec![list(verb.word(), &chunk)];
                    lines.extend(is_private.then(|| "private = true".to_owned()));
                    rule(&lines);
                }
            }
        }
        for (verb, ends) in &self.net_any_port {
            chunks(ends).iter().for_each(|chunk| rule(&[list(verb.word(), chunk)]));
        }
        for (verb, patterns) in &self.unix {
            let verbs = list(
                "verbs",
                &[match verb {
                    UnixVerb::Connect => "connect".to_owned(),
                    UnixVerb::Listen => "listen".to_owned(),
                }],
            );
            chunks(patterns).iter().for_each(|chunk| rule(&[list("unix", chunk), verbs.clone()]));
        }
        for (program, args) in &self.run {
            rule(&[format!("run = {}", toml(program)), list("args", args)]);
        }
        for (key, words) in [("env", &self.env), ("secrets", &self.secrets), ("host", &self.host)] {
            chunks(words).iter().for_each(|chunk| rule(&[list(key, chunk)]));
        }
        for (verb, names) in &self.own {
            for chunk in chunks(names) {
                rule(&[format!("own = {}", toml(verb)), list("names", &chunk)]);
            }
        }
        text
    }
}

fn chunks(patterns: &BTreeSet<String>) -> Vec<Vec<String>> {
    let patterns: Vec<String> = patterns.iter().cloned().collect();
    patterns.chunks(PATTERNS_MAX).map(<[String]>::to_vec).collect()
}

/// The host with its ports, those that follow each other as a range; the host alone if it has none.
fn ends(host: &str, ports: &BTreeSet<u16>) -> Vec<String> {
    if ports.is_empty() {
        return vec![host.to_owned()];
    }
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*port) => *last = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    let shown = |(first, last): (u16, u16)| match first == last {
        true => format!("{host}:{first}"),
        false => format!("{host}:{first}-{last}"),
    };
    ranges.into_iter().map(shown).collect()
}

fn file_pattern(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { literal(path) }
}

fn name_pattern(name: &Name) -> Option<String> {
    let pattern = literal(name.as_str());
    Pattern::parse(&pattern).is_ok().then_some(pattern)
}

/// A pattern that matches these characters and no others.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '\0') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn list(key: &str, items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| toml(item)).collect();
    format!("{key} = [{}]", items.join(", "))
}

/// A text in a TOML file, in which nothing is invisible.
fn toml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\'' => quoted.push(c),
            c if c.escape_debug().len() > 1 => {
                write!(quoted, "\\U{:08X}", u32::from(c)).expect("a string takes every text");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
