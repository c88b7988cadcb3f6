//! Everything public of this crate is here: it asks the gate, is a value that only a permit makes, is authority that the program
//! holds as a value, or does nothing to the system.
//!
//! The sources are read, not the documentation. A function that is new is in none of the lists, and this fails until
//! somebody has decided what it is. What is said of a function is checked as far as its text shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::{FnArg, ImplItem, Item, ReturnType, Signature, Visibility};

/// Types that only an operation behind the gate makes: nothing public makes one without a value to make it from, and no
/// descriptor comes out of one.
const HELD: &[&str] = &[
    "Connection",
    "Datagrams",
    "FileReader",
    "FileWriter",
    "HttpResponse",
    "Listener",
    "Permit",
    "Running",
    "TemporaryFile",
    "Ticket",
    "Watch",
];

/// What has effects and asks no gate, with the reason. `Type::*` is all of a type; a function of none has the name of its room.
const UNGATED: &[(&str, &str)] = &[
    ("AuditLog::open", "the log itself: it cannot be recorded in itself"),
    (
        "ControlListener::*",
        "the runtime's own socket, which the program opens for its user and holds as a value",
    ),
    ("control::connect", "the user's own command speaks to the runtime; no subject is asked for"),
    ("FileLock::*", "within a folder that the program holds as a value"),
    ("Input::*", "what the user named on the command line"),
    ("Lines::*", "of an input or a root that the program holds as a value"),
    ("Root::*", "the program's own authority over one folder, held as a value, and what `Files` is given"),
    ("host::memory_bytes", "the runtime bounds itself by it"),
    ("host::random_bytes", "the runtime draws its own names and keys"),
    ("audit::verify", "reads a log in a folder that the program holds as a value"),
    ("AuditLog::open_signed", "as `AuditLog::open`"),
    ("audit::verify_signed", "as `audit::verify`"),
    ("Reader::*", "reads a log in a folder that the program holds as a value"),
    ("SecretKey::*", "a key of the log, in a folder that the program holds as a value"),
    ("PublicKey::*", "as `SecretKey`"),
    (
        "PolicyFile::*",
        "the policy itself, in a folder that the program holds as a value: the gate decides by it",
    ),
    ("PolicyWatch::*", "as `PolicyFile`"),
    ("Secrets::*", "a folder that the program holds as a value, from which the gated `Machine` reads"),
    ("Blocking::*", "a thread for whoever has none; what it waits for asks by itself"),
    (
        "Confinement::new",
        "opens what is in roots that the program holds as values, to compile rules; takes rights from nobody yet",
    ),
    ("Confinement::of_files", "as `Confinement::new`, in the roots of `Files`"),
    ("Confinement::with_libraries", "opens the fixed folders of the system's libraries, to compile rules"),
    ("Confinement::with_folder", "a folder that the program holds as a value"),
    (
        "Confinement::must_not_reach",
        "looks at the numbers of a folder that the program holds as a value, and of those above",
    ),
    ("Confinement::report", "puts up the wall around a thread of its own; takes rights and gives none"),
    ("Confinement::apply_to_thread", "takes rights from the program itself, and gives none"),
    ("Confinement::apply_to_process", "as `Confinement::apply_to_thread`"),
];

/// What does nothing to the system, or only by way of something that is in this file.
const WITHOUT_EFFECT: &[&str] = &[
    "Access::of_record",
    "Access::parse",
    "AccessLike::*",
    "AddressKind::*",
    "AuditLog::head",
    "Confinement::gaps",
    "Confinement::with_unix_sockets",
    "Decision::*",
    "DocumentError::*",
    "Export::*",
    "Fields::*",
    "FilePath::parse",
    "Files::from_task",
    "Files::new",
    "Files::with_open_max",
    "Gate::admit",
    "Gate::admit_all",
    "Gate::admit_from_task",
    "Gate::enforce",
    "Gate::generation",
    "Gate::log",
    "Gate::new",
    "Gate::observe",
    "Gate::observed",
    "Gate::observed_len",
    "Gate::policy",
    "Gate::replace_policy",
    "Gate::with_layers",
    "Gap::*",
    "GrantChange::*",
    "Head::*",
    "Host::*",
    "HostName::*",
    "Http::new",
    "Http::request",
    "HttpMethod::*",
    "HttpRequest::*",
    "HttpUrl::*",
    "Layer::*",
    "Learner::*",
    "Located::*",
    "Machine::new",
    "Name::*",
    "Network::new",
    "Network::with_limits",
    "Network::with_resolver",
    "Network::with_roots",
    "Network::with_trust",
    "OwnFiles::new",
    "Pattern::*",
    "Pipeline::gate",
    "Pipeline::new",
    "Policy::*",
    "Prepared::*",
    "Problem::*",
    "Program::*",
    "Programs::new",
    "Query::*",
    "Quota::*",
    "RateLimit::*",
    "Record::*",
    "Redaction::*",
    "Refused::*",
    "RelPath::*",
    "Replay::*",
    "Report::*",
    "Reservation::*",
    "Resolver::*",
    "Rule::*",
    "Secret::*",
    "Section::*",
    "Subject::*",
    "Trust::*",
    "document::bytes_text",
    "document::quoted",
    "document::read",
    "prepared::env",
    "prepared::file",
    "prepared::host",
    "prepared::net",
    "prepared::own",
    "prepared::secret",
];

/// What whoever adds a function does about it.
const HOW: &str = "
In tests/it/doors.rs: what does something to the system goes through `Gate::admit` or takes a `Permit`, and is found to.
A type that only a permit makes is listed in HELD. Authority that the program holds as a value is listed in UNGATED, with the
reason. What does nothing, or only by way of what asks the gate, is listed in WITHOUT_EFFECT.
";

/// Names through which the system is reached; `use` of one makes its last part such a name in that file.
const REACH: &[&str] = &[
    "cap_std::",
    "libc::",
    "rustix::",
    "std::fs::",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os::unix::net::",
    "std::process::",
    "std::env::",
    "tokio::fs::",
    "tokio::net::",
    "tokio::process::",
    "landlock::",
    "seccompiler::",
    "std::os::fd::",
];

/// One public function, or a private one that a public one may go through.
struct Function {
    /// The type it is of, if any.
    of: Option<String>,
    name: String,
    file: PathBuf,
    is_public: bool,
    has_receiver: bool,
    /// What it takes, what it gives and what it does, without spaces.
    takes: String,
    gives: String,
    body: String,
}

#[derive(Default)]
struct Sources {
    functions: Vec<Function>,
    /// Traits of types, as `Trait for Type`.
    traits: BTreeSet<(String, String)>,
    /// For each file what it calls by a short name and reaches the system through.
    reaches: BTreeMap<PathBuf, BTreeSet<String>>,
    /// Imports that hide what is called.
    globs: Vec<String>,
    /// Fields of structs that anybody may fill in, as `Type.field`.
    open_fields: BTreeSet<(String, String)>,
}

impl Function {
    fn label(&self) -> String {
        let room = || self.file.iter().next().map(|room| room.to_string_lossy().replace(".rs", ""));
        let of = self.of.clone().or_else(room).unwrap_or_default();
        format!("{of}::{}", self.name)
    }

    fn is_in<'e>(&self, entries: impl IntoIterator<Item = &'e str>) -> bool {
        let whole = self.of.as_ref().map(|of| format!("{of}::*"));
        entries.into_iter().any(|entry| entry == self.label() || Some(entry) == whole.as_deref())
    }
}

fn tight(tokens: impl quote::ToTokens) -> String {
    tokens.into_token_stream().to_string().split_whitespace().collect()
}

impl Sources {
    fn read() -> Self {
        let mut sources = Self::default();
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
                    sources.items(path.strip_prefix(&top).unwrap(), file.items);
                }
            }
        }
        sources
    }

    fn items(&mut self, file: &Path, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Fn(item) => self.function(file, None, &item.vis, &item.sig, tight(&item.block)),
                Item::Impl(item) if item.trait_.is_none() => {
                    let of = type_name(&item.self_ty);
                    for item in item.items {
                        if let ImplItem::Fn(item) = item {
                            self.function(file, Some(&of), &item.vis, &item.sig, tight(&item.block));
                        }
                    }
                }
                Item::Impl(item) => {
                    let of = type_name(&item.self_ty);
                    let name = item.trait_.map(|(path, _)| tight(path)).unwrap_or_default();
                    self.traits.insert((name, of));
                }
                Item::Struct(item) => {
                    for field in &item.fields {
                        let name = field.ident.as_ref().map_or_else(|| "0".to_owned(), ToString::to_string);
                        if matches!(field.vis, Visibility::Public(_)) {
                            self.open_fields.insert((item.ident.to_string(), name));
                        }
                    }
                    let derives = item.attrs.iter().map(tight).filter(|text| text.starts_with("#[derive("));
                    if derives.into_iter().any(|text| text.contains("Clone")) {
                        self.traits.insert(("Clone".to_owned(), item.ident.to_string()));
                    }
                }
                Item::Mod(item) => {
                    let is_test = item.attrs.iter().any(|attribute| tight(attribute) == "#[cfg(test)]");
                    if let (false, Some((_, items))) = (is_test, item.content) {
                        self.items(file, items);
                    }
                }
                Item::Use(item) => {
                    let (mut names, mut globs) = (BTreeSet::new(), Vec::new());
                    imports(&item.tree, "", &mut names, &mut globs);
                    self.globs.extend(globs.iter().map(|glob| format!("{} ({})", glob, file.display())));
                    self.reaches.entry(file.to_owned()).or_default().extend(names);
                }
                _ => {}
            }
        }
    }

    fn function(&mut self, file: &Path, of: Option<&str>, vis: &Visibility, sig: &Signature, body: String) {
        let has_receiver = matches!(sig.inputs.first(), Some(FnArg::Receiver(_)));
        self.functions.push(Function {
            of: of.map(str::to_owned),
            name: sig.ident.to_string(),
            file: file.to_owned(),
            is_public: matches!(vis, Visibility::Public(_)),
            has_receiver,
            takes: tight(&sig.inputs),
            gives: match &sig.output {
                ReturnType::Default => String::new(),
                ReturnType::Type(_, kind) => tight(kind),
            },
            body,
        });
    }

    fn public(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|function| function.is_public)
    }

    /// Whether it asks the gate, or gives itself to one of its own that does; a wish for its own `admit` alone is none, so
    /// what is called so has to ask in turn.
    fn is_gated(&self, function: &Function) -> bool {
        self.asks(function, &mut BTreeSet::new())
    }

    fn asks(&self, function: &Function, seen: &mut BTreeSet<String>) -> bool {
        if !seen.insert(function.label()) {
            return false;
        }
        let asks_gate = ["admit(", "admit_all(", "admit_from_task("].iter().any(|call| {
            let by = ["self.gate.", "self.gate().", "gate.", "self.network.gate."];
            by.iter().any(|by| at_word(&function.body, &format!("{by}{call}")))
        });
        let calls = own_calls(&function.body);
        let is_own = |other: &&Function| {
            other.of.is_some()
                && (other.of == function.of || self.is_of_network(function, other))
                && calls.contains(other.name.as_str())
        };
        asks_gate
            || function.takes.contains(":Permit<")
            || self.functions.iter().filter(is_own).any(|other| self.asks(other, seen))
    }

    /// What the network does for those that hold one.
    fn is_of_network(&self, function: &Function, other: &Function) -> bool {
        other.of.as_deref() == Some("Network") && function.body.contains("self.network.")
    }

    /// How it reaches the system, if its text or that of what it calls in its file shows it.
    fn reach(&self, function: &Function) -> Option<String> {
        let short = self.reaches.get(&function.file);
        let here = |body: &str| {
            let long = REACH.iter().find(|reach| body.contains(**reach)).map(|reach| (*reach).to_owned());
            long.or_else(|| short.into_iter().flatten().find(|name| mentions(body, name)).cloned())
        };
        // All that it calls, as far as that is in its file or its type, and what that calls.
        let mut seen = BTreeSet::from([function.label()]);
        let mut bodies = vec![&*function.body];
        while let Some(body) = bodies.pop() {
            if let Some(reach) = here(body) {
                return Some(reach);
            }
            for other in &self.functions {
                let is_near = !other.is_public && other.file == function.file;
                if is_near && mentions(body, &other.name) && seen.insert(other.label()) {
                    bodies.push(&other.body);
                }
            }
        }
        None
    }
}

/// Whether a type is named.
fn mentions_type(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let is_other = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_other(text[..at].chars().next_back()) && !is_other(text[at + name.len()..].chars().next())
    })
}

/// Names that are called on the value itself.
fn own_calls(body: &str) -> BTreeSet<&str> {
    let calls = ["self.network.", "self.", "Self::"].into_iter().flat_map(|by| body.split(by).skip(1));
    let calls = calls.filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        rest[end..].starts_with('(').then_some(&rest[..end])
    });
    calls.collect()
}

/// Whether a text has these words, and they are not the end of longer ones.
fn at_word(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '.')
    })
}

/// Whether a name stands by itself and is called or gone through.
fn mentions(body: &str, name: &str) -> bool {
    body.match_indices(name).any(|(at, _)| {
        let before = body[..at].chars().next_back();
        let after = &body[at + name.len()..];
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            && (after.starts_with('(') || after.starts_with("::"))
    })
}

fn imports(tree: &syn::UseTree, before: &str, names: &mut BTreeSet<String>, globs: &mut Vec<String>) {
    match tree {
        syn::UseTree::Path(path) => imports(&path.tree, &format!("{before}{}::", path.ident), names, globs),
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| imports(tree, before, names, globs));
        }
        syn::UseTree::Name(name) => import(&format!("{before}{}", name.ident), &name.ident, names),
        syn::UseTree::Rename(name) => import(&format!("{before}{}", name.ident), &name.rename, names),
        syn::UseTree::Glob(_) => {
            if REACH.iter().any(|reach| reach.starts_with(before) || before.starts_with(reach)) {
                globs.push(format!("{before}*"));
            }
        }
    }
}

fn import(whole: &str, name: &syn::Ident, names: &mut BTreeSet<String>) {
    // Numbers that the system gives meaning to do nothing.
    let is_value = ["Errno", "Mode", "OFlags", "AtFlags"].iter().any(|value| whole.ends_with(value));
    if !is_value && REACH.iter().any(|reach| whole.starts_with(reach)) {
        names.insert(name.to_string());
    }
}

fn type_name(kind: &syn::Type) -> String {
    let text = tight(kind);
    text.split('<').next().unwrap_or_default().rsplit("::").next().unwrap_or_default().to_owned()
}

#[test]
fn l5_no_public_function_reaches_the_system_without_a_permit_or_a_reason() {
    let sources = Sources::read();
    let ungated = || UNGATED.iter().map(|(entry, _)| *entry);
    let mut problems = Vec::new();
    for function in sources.public() {
        let (label, file) = (function.label(), function.file.display());
        let is_held = function.of.as_ref().is_some_and(|of| HELD.contains(&of.as_str()));
        let is_without = function.is_in(WITHOUT_EFFECT.iter().copied());
        let is_gated = sources.is_gated(function);
        if let (true, Some(reach)) = (is_without && !is_gated, sources.reach(function)) {
            problems.push(format!(
                "{label} ({file}) is listed as without effect and uses `{reach}`: take it out of WITHOUT_EFFECT"
            ));
        }
        let makes_held = HELD.iter().find(|held| mentions_type(&function.gives, held));
        // The gate itself makes permits, and nobody else does.
        let is_gate = function.file == Path::new("gate.rs") && function.of.as_deref() == Some("Gate");
        if let (Some(held), false) = (makes_held, is_gated || is_held || is_gate) {
            problems.push(format!("{label} ({file}) gives out a {held}, which only a permit may make"));
        }
        if is_held && !function.has_receiver {
            problems.push(format!(
                "{label} ({file}) makes a value that only a permit may make: make it `pub(super)`, or take {} out of HELD",
                function.of.as_deref().unwrap_or_default()
            ));
        }
        if !(is_gated || is_held || is_without || function.is_in(ungated())) {
            problems.push(format!(
                "{label} ({file}) is public, does not ask the gate, and nobody has said what it is"
            ));
        }
        if is_held
            && ["BorrowedFd", "OwnedFd", "RawFd", "std::fs::File"]
                .iter()
                .any(|fd| function.gives.contains(fd))
        {
            problems.push(format!(
                "{label} ({file}) gives a descriptor away, with which anything can be done to the file"
            ));
        }
    }
    for glob in &sources.globs {
        problems.push(format!("{glob} hides what is called: import by names"));
    }
    for (of, field) in &sources.open_fields {
        // Streams of a program that runs, each of which can be taken once.
        let is_stream = of == "Running" && matches!(&**field, "stdin" | "stdout" | "stderr");
        if HELD.contains(&&**of) && !is_stream {
            problems
                .push(format!("{of}.{field} can be filled in by anybody, and only a permit may make a {of}"));
        }
    }
    for (name, of) in &sources.traits {
        let gives_away = [
            "AsFd",
            "AsRawFd",
            "IntoRawFd",
            "Deref",
            "DerefMut",
            "AsRef",
            "Borrow",
            "Clone",
            "Default",
            "From",
            "FromStr",
            "FromRawFd",
            "TryFrom",
        ];
        if HELD.contains(&of.as_str()) && gives_away.iter().any(|given| name.split('<').next() == Some(given))
        {
            problems.push(format!(
                "{of} is {name}, so what only a permit makes can be had without, or more than once"
            ));
        }
    }
    let known: BTreeSet<String> = sources.public().map(Function::label).collect();
    let types: BTreeSet<&str> =
        sources.functions.iter().filter_map(|function| function.of.as_deref()).collect();
    for entry in ungated().chain(WITHOUT_EFFECT.iter().copied()).chain(HELD.iter().copied()) {
        let of = entry.strip_suffix("::*").unwrap_or(entry);
        if !known.contains(entry) && !types.contains(of) {
            problems.push(format!("{entry} is listed and is not there any more"));
        }
    }
    assert!(problems.is_empty(), "\n{}\n{HOW}", problems.join("\n"));
    assert!(
        sources.public().filter(|function| sources.is_gated(function)).count() >= 15,
        "it sees those that ask"
    );
}

#[test]
fn the_reading_of_sources_sees_what_asks_and_what_does_not() {
    let mut sources = Sources::default();
    let text = r#"
        use std::fs::File;
        use rustix::fs::OFlags;
        impl Door {
            pub fn asks(&self) { self.act(1) }
            pub fn asks_at_once(&self) { self.gate.admit(subject, operation)?.perform(f) }
            pub fn takes(&self, permit: Permit<Reading>) {}
            pub fn opens(&self) { File::open("x") }
            pub fn hides(&self) { hidden() }
            pub fn deeply(&self) { Self::further(self) }
            pub fn far(&self) { first() }
            pub fn pretends(&self) { self.porter.admit(subject) }
            pub fn claims(&self) { self.admit(subject) }
            pub fn counts(&self) -> usize { self.profile() + OFlags::empty() }
            fn act(&self, number: u8) { self.gate.admit(subject, number) }
            fn further(&self) { self.act(2) }
            fn admit(&self, subject: &Subject) { drop(subject) }
        }
        fn first() { second() }
        fn second() { hidden() }
        fn hidden() { rustix::fs::unlink("x") }
        #[cfg(test)]
        mod tests { pub fn unseen() {} }
    "#;
    sources.items(Path::new("door.rs"), syn::parse_file(text).unwrap().items);
    let of = |name: &str| sources.functions.iter().find(|function| function.name == name).unwrap();
    for (name, is_gated, reaches) in [
        ("asks", true, false),
        ("asks_at_once", true, false),
        ("takes", true, false),
        ("opens", false, true),
        ("hides", false, true),
        ("deeply", true, false),
        ("far", false, true),
        ("pretends", false, false),
        ("claims", false, false),
        ("counts", false, false),
    ] {
        assert_eq!(sources.is_gated(of(name)), is_gated, "{name}");
        assert_eq!(sources.reach(of(name)).is_some(), reaches, "{name}");
    }
    assert!(!sources.functions.iter().any(|function| function.name == "unseen"));
    let text = "use std::fs::*; use crate::access::*; pub struct Held { pub inner: u8, own: u8 }";
    sources.items(Path::new("glob.rs"), syn::parse_file(text).unwrap().items);
    assert_eq!(sources.globs, ["std::fs::* (glob.rs)"]);
    assert_eq!(sources.open_fields, BTreeSet::from([("Held".to_owned(), "inner".to_owned())]));
    assert!(
        mentions_type("Result<Held,Error>", "Held") && !mentions_type("Result<Upheld,HeldError>", "Held")
    );
}
