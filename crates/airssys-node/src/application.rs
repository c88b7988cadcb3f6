//! `airssys.toml`: which components run, under which supervisors, and what each is granted.
//!
//! [`Application::parse`] checks the file by itself; [`resolve`] joins it with the manifests of its components into a
//! [`Plan`] in which every limit and every grant is final. Both are pure: the node reads the files. Names, parents and
//! targets that do not exist are errors here, so that nothing half-started has to be taken down for a typing mistake.

mod names;
mod plan;

use std::time::Duration;

use airssys_osl::document::{self, DocumentError, Located, Position, Problem, Section, quoted};
use airssys_wasm::manifest::{
    ComponentName, PATTERNS_MAX, RelativePath, TopicPattern, WrittenCapabilities, WrittenLimits,
};

pub use airssys_rt::{Overflow, Restart, Shutdown, Strategy};
pub use plan::{Child, ComponentPlan, Plan, SupervisorPlan, resolve};

/// Most `[[component]]` tables.
pub const COMPONENTS_MAX: usize = 1000;
/// Most `[[supervisor]]` tables.
pub const SUPERVISORS_MAX: usize = 256;
/// Most instances of all components together.
pub const INSTANCES_MAX: u64 = 100_000;

const CONFIG_ENTRIES_MAX: usize = 256;
const CONFIG_KEY_BYTES_MAX: usize = 64;
const CONFIG_VALUE_BYTES_MAX: usize = 64 * 1024;
const REPORT_BYTES_MAX: usize = 64 * 1024;

/// An application file, checked by itself. It is not a plan before it met its manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    file: String,
    name: ComponentName,
    root: Supervision,
    supervisors: Vec<SupervisorEntry>,
    components: Vec<ComponentEntry>,
    input: Option<Located<Input>>,
    report: Option<Located<Report>>,
    show: Vec<TopicPattern>,
}

/// How a supervisor reacts to the end of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervision {
    /// Which children are restarted with the one that ended.
    pub strategy: Strategy,
    /// Restarts within `period` that are still borne.
    pub intensity: u32,
    /// The window in which restarts are counted.
    pub period: Duration,
}

/// The queue before a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mailbox {
    /// Most messages in it.
    pub capacity: usize,
    /// What happens to the next one.
    pub overflow: Overflow,
}

/// Where the lines of the input go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The component that gets them.
    pub to: ComponentName,
    /// Longer lines are skipped and counted.
    pub line_bytes_max: usize,
    /// Most lines that wait for their answer at one time.
    pub in_flight: usize,
    /// How long one line may wait for its answer.
    pub timeout: Duration,
}

/// What is asked of whom after the last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The component that is called.
    pub call: ComponentName,
    /// What is sent to it, as raw bytes.
    pub payload: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SupervisorEntry {
    at: Position,
    name: Located<ComponentName>,
    parent: Option<Located<ComponentName>>,
    supervision: Supervision,
    restart: Restart,
    shutdown: Shutdown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ComponentEntry {
    at: Position,
    name: Located<ComponentName>,
    folder: RelativePath,
    supervisor: Option<Located<ComponentName>>,
    restart: Restart,
    shutdown: Shutdown,
    instances: u32,
    mailbox: Mailbox,
    limits: WrittenLimits,
    grants: WrittenCapabilities,
    config: Vec<(String, String)>,
}

impl Application {
    /// Reads the text of an `airssys.toml`. `file` names it in errors, and in those of [`resolve`].
    pub fn parse(text: &str, file: &str) -> Result<Self, DocumentError> {
        document::read(text, file, |root| {
            root.require("application");
            root.require("component");
            let name = root.table("application", read_application).flatten();
            let supervision = root.table("root", Supervision::read).unwrap_or_default();
            let supervisors = root.tables("supervisor", SUPERVISORS_MAX, SupervisorEntry::read);
            let components = root.tables("component", COMPONENTS_MAX, ComponentEntry::read);
            let input = root.table("input", Input::read);
            let report = root.table("report", Report::read);
            let show = root.table("show", read_show).unwrap_or_default();

            // A reference can only be checked against names that were all read.
            let supervisors = supervisors.into_iter().collect::<Option<Vec<_>>>()?;
            let components = components.into_iter().collect::<Option<Vec<_>>>()?;
            let (name, input, report) = (name?, whole(input)?, whole(report)?);
            let application = Application {
                file: file.to_owned(),
                name,
                root: supervision,
                supervisors,
                components,
                input,
                report,
                show,
            };
            names::check(&application).into_iter().for_each(|problem| root.report(problem));
            Some(application)
        })
    }

    /// Its name: the namespace of its components and the name of the root supervisor.
    pub fn name(&self) -> &ComponentName {
        &self.name
    }

    /// The folder of each component's manifest, relative to the file, in the order of the file.
    pub fn folders(&self) -> impl Iterator<Item = &RelativePath> {
        self.components.iter().map(|component| &component.folder)
    }
}

/// A section that may be absent, but not half read.
fn whole<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    section.map_or(Some(None), |read| read.map(Some))
}

fn read_application(section: &mut Section<'_>) -> Option<ComponentName> {
    section.require("name");
    Some(section.parsed("name", ComponentName::parse)?.value)
}

impl Default for Supervision {
    /// One for one, 5 restarts in 60 s.
    fn default() -> Self {
        Supervision { strategy: Strategy::OneForOne, intensity: 5, period: Duration::from_secs(60) }
    }
}

impl Supervision {
    fn read(section: &mut Section<'_>) -> Self {
        let words = [
            ("one-for-one", Strategy::OneForOne),
            ("one-for-all", Strategy::OneForAll),
            ("rest-for-one", Strategy::RestForOne),
        ];
        let rest = Supervision::default();
        let strategy = section.one_of("strategy", &words).unwrap_or(rest.strategy);
        let intensity = bounded(section, "intensity", 0, 100_000, rest.intensity);
        let period = section.integer("period_s", 1..=86_400);
        Supervision {
            strategy,
            intensity,
            period: period.map_or(rest.period, |period| Duration::from_secs(period.value)),
        }
    }
}

impl SupervisorEntry {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.require("name");
        let name = section.parsed("name", ComponentName::parse);
        let parent = section.parsed("parent", ComponentName::parse);
        let supervision = Supervision::read(section);
        let restart = read_restart(section);
        // As in OTP a supervisor is given the time its children need, which are bounded themselves.
        let shutdown = read_shutdown(section).unwrap_or(Shutdown::Infinity);
        Some(SupervisorEntry { at: section.at(), name: name?, parent, supervision, restart, shutdown })
    }
}

impl ComponentEntry {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.require("name");
        section.require("path");
        let name = section.parsed("name", ComponentName::parse);
        let folder = section.parsed("path", RelativePath::parse_folder);
        let supervisor = section.parsed("supervisor", ComponentName::parse);
        let restart = read_restart(section);
        let shutdown = read_shutdown(section).unwrap_or(Shutdown::After(Duration::from_secs(5)));
        let instances = bounded(section, "instances", 1, 1000, 1);
        let mailbox = section.table("mailbox", Mailbox::read).unwrap_or_default();
        let limits = section.table("limits", WrittenLimits::read).unwrap_or_default();
        let grants = section.table("grants", WrittenCapabilities::read).unwrap_or_default();
        let config = section.table("config", read_config).unwrap_or_default();
        Some(ComponentEntry {
            at: section.at(),
            name: name?,
            folder: folder?.value,
            supervisor,
            restart,
            shutdown,
            instances,
            mailbox,
            limits,
            grants,
            config,
        })
    }
}

impl Default for Mailbox {
    /// 1024 messages, and full is an answer.
    fn default() -> Self {
        Mailbox { capacity: 1024, overflow: Overflow::Reject }
    }
}

impl Mailbox {
    fn read(section: &mut Section<'_>) -> Self {
        let words = [
            ("wait", Overflow::Wait),
            ("reject", Overflow::Reject),
            ("drop-oldest", Overflow::DropOldest),
            ("drop-newest", Overflow::DropNewest),
        ];
        let rest = Mailbox::default();
        let capacity = bounded(section, "capacity", 1, 100_000, rest.capacity);
        Mailbox { capacity, overflow: section.one_of("overflow", &words).unwrap_or(rest.overflow) }
    }
}

impl Input {
    fn read(section: &mut Section<'_>) -> Option<Located<Self>> {
        section.require("to");
        let to = section.parsed("to", ComponentName::parse);
        let line_bytes_max = section.bytes("line_bytes_max", 1..=16 << 20);
        let line_bytes_max =
            line_bytes_max.and_then(|limit| usize::try_from(limit.value).ok()).unwrap_or(64 << 10);
        let in_flight = bounded(section, "in_flight", 1, 65_536, 64);
        let timeout = section.integer("timeout_ms", 1..=3_600_000);
        Some(to?.map(|to| Input {
            to,
            line_bytes_max,
            in_flight,
            timeout: Duration::from_millis(timeout.map_or(10_000, |timeout| timeout.value)),
        }))
    }
}

impl Report {
    fn read(section: &mut Section<'_>) -> Option<Located<Self>> {
        section.require("call");
        let call = section.parsed("call", ComponentName::parse);
        let payload = section.text("payload").map(|text| text.value).unwrap_or_default();
        if payload.len() > REPORT_BYTES_MAX {
            let message =
                format!("`payload` has {} bytes; at most {REPORT_BYTES_MAX} are sent", payload.len());
            section.report(Problem::new(section.at(), message));
        }
        Some(call?.map(|call| Report { call, payload }))
    }
}

fn read_show(section: &mut Section<'_>) -> Vec<TopicPattern> {
    let topics = section.parsed_list("topics", PATTERNS_MAX, TopicPattern::parse).unwrap_or_default();
    topics.into_iter().map(|topic| topic.value).collect()
}

fn read_restart(section: &mut Section<'_>) -> Restart {
    let words = [
        ("permanent", Restart::Permanent),
        ("transient", Restart::Transient),
        ("temporary", Restart::Temporary),
    ];
    section.one_of("restart", &words).unwrap_or(Restart::Permanent)
}

fn read_shutdown(section: &mut Section<'_>) -> Option<Shutdown> {
    let words = [("brutal", Shutdown::Brutal), ("infinity", Shutdown::Infinity)];
    let within = |time_ms| Shutdown::After(Duration::from_millis(time_ms));
    section.word_or_integer("shutdown_ms", &words, 1..=3_600_000, within)
}

fn read_config(section: &mut Section<'_>) -> Vec<(String, String)> {
    let entries = section.free_entries(CONFIG_ENTRIES_MAX);
    for (key, value) in &entries {
        if !(1..=CONFIG_KEY_BYTES_MAX).contains(&key.value.len()) {
            let message =
                format!("config key {} is not 1 to {CONFIG_KEY_BYTES_MAX} bytes", quoted(&key.value));
            section.report(Problem::new(key.at, message));
        }
        if value.value.len() > CONFIG_VALUE_BYTES_MAX {
            let message =
                format!("config {} is longer than {CONFIG_VALUE_BYTES_MAX} bytes", quoted(&key.value));
            section.report(Problem::new(value.at, message));
        }
    }
    entries.into_iter().map(|(key, value)| (key.value, value.value)).collect()
}

/// A whole number within `least` to `most`, or `otherwise` where it is absent or was reported.
fn bounded<T: TryFrom<u64>>(
    section: &mut Section<'_>,
    key: &'static str,
    least: u64,
    most: u64,
    otherwise: T,
) -> T {
    let number = section.integer(key, least..=most);
    number.and_then(|number| T::try_from(number.value).ok()).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests;
