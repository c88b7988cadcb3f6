//! Reading a policy from TOML, whole or not at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::access::{Access, FileVerb, HostFacility, Name, NetVerb, Subject, UnixVerb};
use crate::document::{self, DocumentError, Located, Position, Problem, Section, quoted};

use super::pattern::{Pattern, Word};
use super::rule::{Args, Hosts, Scope, Verbs, hosts_and_ports};
use super::{
    Effect, Expectation, Grants, HOLDERS_MAX, Holder, PATTERNS_MAX, Policy, RULES_MAX, Rule, RuleId,
};

/// Programs that run what their arguments say: whoever may start one with free arguments may start anything.
const INTERPRETERS: &[&str] = &[
    "ash",
    "awk",
    "bash",
    "bun",
    "busybox",
    "chroot",
    "csh",
    "dash",
    "deno",
    "doas",
    "env",
    "expect",
    "find",
    "fish",
    "gawk",
    "ksh",
    "lua",
    "make",
    "mawk",
    "nice",
    "node",
    "nohup",
    "npx",
    "perl",
    "php",
    "python",
    "python3",
    "ruby",
    "script",
    "setsid",
    "sh",
    "ssh",
    "su",
    "sudo",
    "systemd-run",
    "tclsh",
    "timeout",
    "xargs",
    "zsh",
];

/// Rules and roles of all subjects together, counted for each who has them: they are sorted for each.
const USES_MAX: usize = 2_000_000;

/// A role or a subject as it is written.
struct Held {
    at: Position,
    roles: Vec<Located<Name>>,
    /// Its own rules, as a range of all.
    rules: std::ops::Range<u32>,
}

impl Policy {
    /// Reads a policy; `file` names the text in errors, each of which has its line.
    ///
    /// ```
    /// use airssys_osl::{Access, Decision, Policy, Subject};
    /// let policy = Policy::parse(
    ///     r#"
    ///     version = 1
    ///     [[role]]
    ///     name = "reader"
    ///     [[role.allow]]
    ///     files = ["logs:**"]
    ///     verbs = ["read", "list"]
    ///     [[role.deny]]
    ///     files = ["logs:private/**"]
    ///     [[subject]]
    ///     name = "tool"
    ///     roles = ["reader"]
    ///     "#,
    ///     "policy.toml",
    /// )?;
    /// let tool = Subject::parse("tool")?;
    /// let decide = |access: &str| Ok::<_, airssys_osl::AccessError>(policy.decide(&tool, &Access::parse(access)?));
    /// assert!(matches!(decide("read logs:today.log")?, Decision::Allowed(_)));
    /// assert!(matches!(decide("read logs:private/key")?, Decision::Denied(Some(_))));
    /// assert!(matches!(decide("write logs:today.log")?, Decision::Denied(None)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(text: &str, file: &str) -> Result<Self, DocumentError> {
        let digest = blake3::hash(text.as_bytes());
        document::read(text, file, |root| {
            let mut reader = Reader { rules: Vec::new() };
            root.require("version");
            let version = root.integer("version", 1..=1);
            let roles =
                root.tables("role", HOLDERS_MAX, |section| reader.holder(section, "inherits", Holder::Role));
            let subjects = root.tables("subject", HOLDERS_MAX, |section| {
                reader.holder(section, "roles", |name| Holder::Subject(Subject::new(name)))
            });
            let expectations = root.tables("test", RULES_MAX, expectation);
            if reader.rules.len() > RULES_MAX {
                let message =
                    format!("the policy has {} rules; at most {RULES_MAX} are read", reader.rules.len());
                root.report(Problem::new(root.at(), message));
                return None;
            }
            let roles = by_name(root, "role", roles)?;
            let subjects = by_name(root, "subject", subjects)?;
            let expectations: Vec<Expectation> = expectations.into_iter().collect::<Option<_>>()?;
            version?;
            let rules = reader.rules;
            check_roles(root, &roles)?;
            let mut sorted = HashMap::with_capacity(subjects.len());
            let mut uses_len = 0;
            for (name, held) in subjects {
                held.roles.iter().try_for_each(|role| known(root, &roles, role).map(drop))?;
                let ids = ids_of(&roles, &held, USES_MAX - uses_len);
                uses_len += ids.as_ref().map_or(USES_MAX, |(_, visited)| *visited);
                let Some((ids, _)) = ids else {
                    let message = format!("all subjects together have more than {USES_MAX} roles and rules");
                    root.report(Problem::new(held.at, message));
                    return None;
                };
                let mut grants = Grants::default();
                ids.into_iter().for_each(|id| grants.add(RuleId(id), &rules[id as usize]));
                sorted.insert(Subject::new(name), grants);
            }
            Some(Policy { rules: rules.into(), subjects: sorted, expectations: expectations.into(), digest })
        })
    }
}

struct Reader {
    rules: Vec<Rule>,
}

impl Reader {
    fn holder(
        &mut self,
        section: &mut Section<'_>,
        roles_key: &'static str,
        of: impl Fn(Name) -> Holder,
    ) -> Option<(Located<Name>, Held)> {
        let at = section.at();
        section.require("name");
        let name = section.parsed("name", Name::parse);
        let roles = section.parsed_list(roles_key, HOLDERS_MAX, Name::parse);
        let begin = self.len();
        // Read also where the name is wrong, so that all problems are told at once.
        let holder = name.as_ref().map(|name| of(name.value.clone()));
        for (key, effect) in [("allow", Effect::Allow), ("deny", Effect::Deny)] {
            section.tables(key, RULES_MAX, |section| {
                let at = section.at();
                let scopes = scopes(section, effect).unwrap_or_default();
                if let Some(holder) = &holder {
                    let rule = |scope| Rule { effect, holder: holder.clone(), at, scope };
                    self.rules.extend(scopes.into_iter().map(rule));
                }
            });
        }
        let rules = begin..self.len();
        Some((name?, Held { at, roles: roles.unwrap_or_default(), rules }))
    }

    fn len(&self) -> u32 {
        u32::try_from(self.rules.len()).unwrap_or(u32::MAX)
    }
}

/// What the keys of one rule are about; `None` after a problem.
fn scopes(section: &mut Section<'_>, effect: Effect) -> Option<Vec<Scope>> {
    const KINDS: [&str; 12] = [
        "files", "connect", "listen", "send", "bind", "resolve", "unix", "run", "env", "secrets", "host",
        "own",
    ];
    let found: Vec<&str> = KINDS.into_iter().filter(|key| section.has(key)).collect();
    let broad = section.boolean("broad").is_some_and(|broad| broad.value);
    let kind = match found[..] {
        [kind] => kind,
        [] => {
            let message = "a rule has one of `files`, `connect`, `listen`, `send`, `bind`, `resolve`, `unix`, `run`, `env`, `secrets`, `host` and `own`";
            KINDS.into_iter().for_each(|key| section.ask(key));
            section.report(Problem::new(section.at(), message));
            return None;
        }
        [first, second, ..] => {
            found.iter().for_each(|key| section.ask(key));
            let message = format!("a rule is about one thing, and this one has `{first}` and `{second}`");
            section.report(Problem::new(section.at(), message));
            return None;
        }
    };
    let scopes = match kind {
        "files" => files(section, effect),
        "unix" => unix(section, effect),
        "run" => run(section),
        "env" => words(section, "env", Word::parse, Scope::Env),
        "secrets" => words(section, "secrets", Pattern::parse, Scope::Secret),
        "host" => words(section, "host", facility, Scope::Host),
        "own" => own(section),
        "resolve" => net(section, "resolve", NetVerb::Resolve),
        "connect" => net(section, "connect", NetVerb::Connect),
        "listen" => net(section, "listen", NetVerb::Listen),
        "send" => net(section, "send", NetVerb::Send),
        _ => net(section, "bind", NetVerb::Bind),
    }?;
    if scopes.is_empty() {
        section.report(Problem::new(
            section.at(),
            format!("`{kind}` names nothing, so the rule would mean nothing"),
        ));
        return None;
    }
    // Denying much is no danger.
    if let Some(scope) = scopes.iter().find(|scope| effect == Effect::Allow && !broad && is_broad(scope)) {
        let message = format!("`{scope}` allows everything of its kind");
        let help = Some("name what is needed, or write `broad = true` to say that this is meant".to_owned());
        section.report(Problem { at: section.at(), message, help });
        return None;
    }
    Some(scopes)
}

fn is_broad(scope: &Scope) -> bool {
    match scope {
        Scope::Files { .. } | Scope::Unix { .. } | Scope::Host(_) => false,
        Scope::Net { hosts, .. } => hosts.is_broad(),
        Scope::Run { program, args } => {
            let name = program.rsplit('/').next().unwrap_or(program);
            let is_interpreter = INTERPRETERS.contains(&name)
                || INTERPRETERS.iter().any(|known| {
                    name.strip_prefix(known)
                        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
                });
            args.is_open() && is_interpreter
        }
        Scope::Env(names) => names.is_broad(),
        Scope::Secret(names) | Scope::Own { names, .. } => names.is_broad(),
    }
}

fn files(section: &mut Section<'_>, effect: Effect) -> Option<Vec<Scope>> {
    let patterns = section.parsed_list("files", PATTERNS_MAX, |text| below_root(text, effect));
    let has_verbs = section.has("verbs");
    let verbs = section.parsed_list("verbs", FileVerb::WORDS.len(), |text| {
        FileVerb::of_word(text).ok_or_else(|| {
            format!(
                "write any of {}",
                FileVerb::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
            )
        })
    });
    let hidden = section.boolean("hidden").is_some_and(|hidden| hidden.value);
    let verbs = match (verbs, has_verbs) {
        (Some(verbs), _) if verbs.is_empty() => {
            section
                .report(Problem::new(section.at(), "`verbs` names nothing, so the rule would mean nothing"));
            return None;
        }
        (Some(verbs), _) => Verbs::of(verbs.into_iter().map(|verb| verb.value)),
        (None, true) => return None,
        (None, false) => Verbs::ALL,
    };
    let scope = |(root, pattern)| Scope::Files { root, pattern, verbs, hidden };
    Some(patterns?.into_iter().map(|pattern| scope(pattern.value)).collect())
}

/// `root:pattern`; of a rule that denies, with everything below.
fn below_root(text: &str, effect: Effect) -> Result<(Name, Pattern), String> {
    let (root, pattern) =
        text.split_once(':').ok_or("write the root's name and a pattern: `data:logs/**`")?;
    let root = Name::parse(root).map_err(|error| error.to_string())?;
    let pattern = Pattern::parse(pattern).map_err(|error| error.to_string())?;
    let pattern = match effect {
        Effect::Allow => pattern,
        Effect::Deny => pattern.with_everything_below(),
    };
    Ok((root, pattern))
}

fn unix(section: &mut Section<'_>, effect: Effect) -> Option<Vec<Scope>> {
    let patterns = section.parsed_list("unix", PATTERNS_MAX, |text| below_root(text, effect));
    let has_verbs = section.has("verbs");
    let verbs = section.parsed_list("verbs", UnixVerb::WORDS.len(), |text| match text {
        "connect" => Ok(UnixVerb::Connect),
        "listen" => Ok(UnixVerb::Listen),
        _ => Err("write any of connect, listen"),
    });
    let hidden = section.boolean("hidden").is_some_and(|hidden| hidden.value);
    let verbs: Vec<Option<UnixVerb>> = match (verbs, has_verbs) {
        (Some(verbs), _) if verbs.is_empty() => {
            section
                .report(Problem::new(section.at(), "`verbs` names nothing, so the rule would mean nothing"));
            return None;
        }
        (Some(verbs), _) => verbs.into_iter().map(|verb| Some(verb.value)).collect(),
        (None, true) => return None,
        (None, false) => vec![None],
    };
    let scopes = |(root, pattern): (Name, Pattern)| {
        let of = move |verb| Scope::Unix { root: root.clone(), pattern: pattern.clone(), verb, hidden };
        verbs.clone().into_iter().map(of)
    };
    Some(patterns?.into_iter().flat_map(|pattern| scopes(pattern.value)).collect())
}

fn net(section: &mut Section<'_>, key: &'static str, verb: NetVerb) -> Option<Vec<Scope>> {
    let read = |text: &str| match verb {
        NetVerb::Resolve => Hosts::parse(text).map(|hosts| (hosts, 1..=u16::MAX)),
        NetVerb::Connect | NetVerb::Send => hosts_and_ports(text),
        NetVerb::Listen | NetVerb::Bind => {
            hosts_and_ports(text).and_then(|(hosts, ports)| Ok((hosts.of_own_end()?, ports)))
        }
    };
    let ends = section.parsed_list(key, PATTERNS_MAX, read);
    let private = section.boolean("private").is_some_and(|private| private.value);
    let scope = |(hosts, ports)| Scope::Net { verb, hosts, ports, private };
    Some(ends?.into_iter().map(|end| scope(end.value)).collect())
}

fn run(section: &mut Section<'_>) -> Option<Vec<Scope>> {
    let program = section.parsed("run", |text: &str| {
        let is_plain =
            text.starts_with('/') && !text.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
        if is_plain && !text.contains('\0') {
            Ok(Arc::<str>::from(text))
        } else {
            Err("write the absolute path of a program")
        }
    });
    let has_args = section.has("args");
    let words = section.parsed_list("args", PATTERNS_MAX, |text| match text {
        "**" => Ok(None),
        text => Word::parse(text).map(Some),
    });
    let args = match (words, has_args) {
        (Some(words), _) => {
            let len = words.len();
            let rest_at = words.iter().position(|word| word.value.is_none());
            if let Some(at) = rest_at.filter(|at| at + 1 != len) {
                section.report(Problem::new(words[at].at, "`**` stands at the end of `args`"));
                return None;
            }
            Args::new(words.into_iter().filter_map(|word| word.value).collect(), rest_at.is_some())
        }
        (None, true) => return None,
        (None, false) => Args::new(Vec::new(), false),
    };
    Some(vec![Scope::Run { program: program?.value, args }])
}

fn own(section: &mut Section<'_>) -> Option<Vec<Scope>> {
    let verb = section.parsed("own", Name::parse);
    section.require("names");
    let names = section.parsed_list("names", PATTERNS_MAX, Pattern::parse);
    let verb = verb?.value;
    Some(names?.into_iter().map(|names| Scope::Own { verb: verb.clone(), names: names.value }).collect())
}

fn words<T, E: std::fmt::Display>(
    section: &mut Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
    scope: impl Fn(T) -> Scope,
) -> Option<Vec<Scope>> {
    let items = section.parsed_list(key, PATTERNS_MAX, parse)?;
    Some(items.into_iter().map(|item| scope(item.value)).collect())
}

fn facility(text: &str) -> Result<HostFacility, String> {
    HostFacility::of_word(text).ok_or_else(|| "write any of clock, random, info".to_owned())
}

fn expectation(section: &mut Section<'_>) -> Option<Expectation> {
    let at = section.at();
    ["subject", "access", "expect"].into_iter().for_each(|key| section.require(key));
    let subject = section.parsed("subject", Subject::parse);
    let access = section.parsed("access", Access::parse);
    let allowed = section.one_of("expect", &[("allow", true), ("deny", false)]);
    Some(Expectation { subject: subject?.value, access: access?.value, allowed: allowed?, at })
}

fn by_name(
    root: &Section<'_>,
    what: &str,
    held: Vec<Option<(Located<Name>, Held)>>,
) -> Option<HashMap<Name, Held>> {
    let mut named: HashMap<Name, Held> = HashMap::with_capacity(held.len());
    let mut is_complete = true;
    for held in held {
        let Some((name, held)) = held else {
            is_complete = false;
            continue;
        };
        if let Some(first) = named.get(&name.value) {
            let message =
                format!("{what} {} is there already, in line {}", quoted(name.value.as_str()), first.at.line);
            root.report(Problem::new(name.at, message));
            is_complete = false;
        } else {
            named.insert(name.value, held);
        }
    }
    is_complete.then_some(named)
}

fn known<'r>(root: &Section<'_>, roles: &'r HashMap<Name, Held>, name: &Located<Name>) -> Option<&'r Held> {
    let role = roles.get(&name.value);
    if role.is_none() {
        let message = format!("there is no role {}", quoted(name.value.as_str()));
        root.report(Problem::suggesting(
            name.at,
            message,
            name.value.as_str(),
            roles.keys().map(Name::as_str),
        ));
    }
    role
}

/// Every role is one that is there, and none has itself, in one walk over all. `None` after a problem.
fn check_roles(root: &Section<'_>, roles: &HashMap<Name, Held>) -> Option<()> {
    enum Step<'r> {
        Enter(&'r Located<Name>),
        Leave(&'r Name),
    }
    let mut sound: HashSet<&Name> = HashSet::with_capacity(roles.len());
    let mut open: HashSet<&Name> = HashSet::new();
    let mut in_order: Vec<&Held> = roles.values().collect();
    in_order.sort_by_key(|role| role.at);
    for role in in_order {
        let mut steps: Vec<Step<'_>> = role.roles.iter().map(Step::Enter).collect();
        while let Some(step) = steps.pop() {
            let name = match step {
                Step::Enter(name) => name,
                Step::Leave(name) => {
                    open.remove(name);
                    sound.insert(name);
                    continue;
                }
            };
            let role = known(root, roles, name)?;
            if open.contains(&name.value) {
                let message = format!("role {} inherits from itself", quoted(name.value.as_str()));
                root.report(Problem::new(name.at, message));
                return None;
            }
            if !sound.contains(&name.value) {
                open.insert(&name.value);
                steps.push(Step::Leave(&name.value));
                steps.extend(role.roles.iter().map(Step::Enter));
            }
        }
    }
    Some(())
}

/// The rules of a subject and of all its roles, in the order written, each once, and how many rules and roles were looked at;
/// `None` if they are more than `visits_max`.
fn ids_of(roles: &HashMap<Name, Held>, held: &Held, visits_max: usize) -> Option<(Vec<u32>, usize)> {
    let mut ids: Vec<u32> = held.rules.clone().collect();
    let mut seen: HashSet<&Name> = HashSet::new();
    let mut left: Vec<&Held> = vec![held];
    let mut visits = ids.len();
    while let Some(held) = left.pop() {
        for name in &held.roles {
            visits += 1;
            if let Some(role) = roles.get(&name.value).filter(|_| seen.insert(&name.value)) {
                visits += role.rules.len();
                ids.extend(role.rules.clone());
                left.push(role);
            }
            if visits > visits_max {
                return None;
            }
        }
    }
    ids.sort_unstable();
    Some((ids, visits))
}
