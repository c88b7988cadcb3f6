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
const HELD: &[&str] = &["FileReader", "FileWriter", "Permit", "TemporaryFile", "Ticket", "Watch"];

/// What has effects and asks no gate, with the reason. `Type::*` is all of a type; a function of none has the name of its room.
const UNGATED: &[(&str, &str)] = &[
    ("AuditLog::open", "the log itself: it cannot be recorded in itself"),
    (
        "ControlListener::*",
        "the runtime's own socket, which the program opens for its user and holds as a value",
    ),
    ("net::connect", "the user's own command speaks to the runtime; no subject is asked for"),
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
];

/// What does nothing to the system, or only by way of something that is in this file.
const WITHOUT_EFFECT: &[&str] = &[
    "Access::of_record",
    "Access::parse",
    "AccessLike::*",
    "AddressKind::*",
    "AuditLog::head",
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
    "GrantChange::*",
    "Head::*",
    "Host::*",
    "HostName::*",
    "Layer::*",
    "Learner::*",
    "Located::*",
    "Machine::new",
    "Name::*",
    "Pattern::*",
    "Pipeline::gate",
    "Pipeline::new",
    "Policy::*",
    "Prepared::*",
    "Problem::*",
    "Query::*",
    "Quota::*",
    "RateLimit::*",
    "Record::*",
    "Redaction::*",
    "Refused::*",
    "RelPath::*",
    "Replay::*",
    "Reservation::*",
    "Rule::*",
    "Secret::*",
    "Section::*",
    "Subject::*",
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
                    let mut names = BTreeSet::new();
                    imports(&item.tree, "", &mut names);
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

    /// Whether it asks the gate, or gives itself to one of its own that does.
    fn is_gated(&self, function: &Function) -> bool {
        let is_directly = |function: &Function| {
            function.body.contains(".admit(")
                || function.body.contains(".admit_all(")
                || function.body.contains(".admit_from_task(")
                || function.takes.contains(":Permit<")
        };
        let calls = own_calls(&function.body);
        let is_own = |other: &&Function| {
            other.of.is_some() && other.of == function.of && calls.contains(other.name.as_str())
        };
        is_directly(function) || self.functions.iter().filter(is_own).any(is_directly)
    }

    /// How it reaches the system, if its text or that of what it calls in its file shows it.
    fn reach(&self, function: &Function) -> Option<String> {
        let short = self.reaches.get(&function.file);
        let here = |body: &str| {
            let long = REACH.iter().find(|reach| body.contains(**reach)).map(|reach| (*reach).to_owned());
            long.or_else(|| short.into_iter().flatten().find(|name| mentions(body, name)).cloned())
        };
        here(&function.body).or_else(|| {
            let called = self.functions.iter().filter(|other| {
                !other.is_public && other.file == function.file && mentions(&function.body, &other.name)
            });
            called.filter_map(|other| here(&other.body)).next()
        })
    }
}

/// Names that are called on the value itself.
fn own_calls(body: &str) -> BTreeSet<&str> {
    let calls = body.split("self.").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        rest[end..].starts_with('(').then_some(&rest[..end])
    });
    calls.collect()
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

fn imports(tree: &syn::UseTree, before: &str, names: &mut BTreeSet<String>) {
    match tree {
        syn::UseTree::Path(path) => imports(&path.tree, &format!("{before}{}::", path.ident), names),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| imports(tree, before, names)),
        syn::UseTree::Name(name) => import(&format!("{before}{}", name.ident), &name.ident, names),
        syn::UseTree::Rename(name) => import(&format!("{before}{}", name.ident), &name.rename, names),
        // What comes by a glob is not seen.
        syn::UseTree::Glob(_) => {}
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
    for (name, of) in &sources.traits {
        let gives_away = ["AsFd", "AsRawFd", "IntoRawFd", "Deref", "DerefMut", "AsRef", "Borrow", "Clone"];
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
            pub fn counts(&self) -> usize { self.profile() + OFlags::empty() }
            fn act(&self, number: u8) { self.gate.admit(subject, number) }
        }
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
        ("counts", false, false),
    ] {
        assert_eq!(sources.is_gated(of(name)), is_gated, "{name}");
        assert_eq!(sources.reach(of(name)).is_some(), reaches, "{name}");
    }
    assert!(!sources.functions.iter().any(|function| function.name == "unseen"));
}
