//! Each kind of gap is real where it is told, and is not told where it is not.

use std::ffi::OsStr;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

/// Whether a gap of this kind and side is told about this folder or for ports.
fn tells(confinement: &Confinement, side: Side, kind: GapKind) -> bool {
    confinement.gaps().iter().any(|gap| (gap.side, gap.kind) == (side, kind))
}

fn denies(policy: &Policy, access: &str) -> bool {
    !policy.decide(&tool(), &Access::parse(access).unwrap()).is_allowed()
}

/// What differs with a rule and does not without it: a gap is told, and the kernel does as it says.
struct Case {
    kind: GapKind,
    side: Side,
    fit: Fit,
    rules: String,
    /// Rules with which the two judges agree.
    agreed: String,
    /// What the policy says otherwise than the kernel.
    access: &'static str,
    act: fn(&Path) -> io::Result<()>,
}

fn read(path: &str) -> impl Fn(&Path) -> io::Result<()> {
    move |root| fs::read(root.join(path)).map(drop)
}

const ALL: &str = "files = [\"d:**\"]\nhidden = true";
const OUT: &str = "files = [\"d:out/**\"]\nhidden = true";

fn cases() -> Vec<Case> {
    let wider = |kind, rules: String, agreed: String, access, act| Case {
        kind,
        side: Side::Wider,
        fit: Fit::Around,
        rules,
        agreed,
        access,
        act,
    };
    let narrower = |kind, rules: String, agreed: String, access, act| Case {
        side: Side::Narrower,
        ..wider(kind, rules, agreed, access, act)
    };
    let verbs = |files: &str, verbs: &[&str]| {
        allow(&format!("files = [\"d:{files}\"]\nverbs = {verbs:?}\nhidden = true"))
    };
    vec![
        wider(
            GapKind::Denied,
            allow(ALL) + &deny("files = [\"d:in/secret\"]"),
            allow(ALL),
            "read d:in/secret/key",
            |root| read("in/secret/key")(root),
        ),
        wider(
            GapKind::Pattern,
            verbs("in/b*", &["read"]),
            verbs("in/**", &["read"]),
            "read d:in/a",
            |root| read("in/a")(root),
        ),
        wider(GapKind::Hidden, allow("files = [\"d:**\"]"), allow(ALL), "read d:.hidden/h", |root| {
            read(".hidden/h")(root)
        }),
        wider(
            GapKind::Replacing,
            verbs("out/**", &["create", "write", "stat"]),
            verbs("out/**", &["write", "stat"]),
            "remove d:out/b",
            |root| fs::remove_file(root.join("out/b")),
        ),
        wider(
            GapKind::HardLinks,
            verbs("out/**", &["read", "write", "create", "remove", "list", "stat"]),
            allow(OUT),
            "link d:out/c",
            |root| fs::hard_link(root.join("out/b"), root.join("out/c")),
        ),
        wider(GapKind::Unhandled, verbs("out/**", &["read"]), String::new(), "stat d:in/a", |root| {
            fs::metadata(root.join("in/a")).map(drop)
        }),
        narrower(
            GapKind::Missing,
            verbs("later/**", &["read"]),
            verbs("in/**", &["read"]),
            "read d:later/x",
            |root| read("later/x")(root),
        ),
        narrower(
            GapKind::Itself,
            verbs("empty/**", &["remove"]),
            verbs("**", &["remove"]),
            "remove d:empty",
            |root| fs::remove_dir(root.join("empty")),
        ),
        Case {
            fit: Fit::Inside,
            ..narrower(
                GapKind::Uncovered,
                verbs("out/n*", &["create", "write"]),
                verbs("out/**", &["create", "write"]),
                "create d:out/new",
                |root| OpenOptions::new().write(true).create_new(true).open(root.join("out/new")).map(drop),
            )
        },
    ]
}

#[test]
fn a_difference_about_a_path_is_real_where_it_is_told() {
    for case in cases() {
        let world = world();
        let root = world.path().join("root");
        fs::create_dir(root.join("empty")).unwrap();
        let policy = policy_of(&case.rules);
        let confinement = compile(&policy, &root, case.fit);
        // What is later there was not there before.
        fs::create_dir(root.join("later")).unwrap();
        fs::write(root.join("later/x"), "").unwrap();
        let gaps = confinement.gaps();
        let access = Access::parse(case.access).unwrap();
        let about = |gap: &&Gap| (gap.side, gap.kind) == (case.side, case.kind) && gap.is_about(&access);
        let gap = gaps.iter().find(about).unwrap_or_else(|| panic!("{:?}: {gaps:#?}", case.kind));
        let outcome = confined(&confinement, |_| (case.act)(&root));
        let is_allowed = policy.decide(&tool(), &access).is_allowed();
        match case.side {
            Side::Wider => assert!(!is_allowed && outcome.is_ok(), "{gap}: {outcome:?}"),
            Side::Narrower => {
                assert!(is_allowed, "{gap}");
                is_stopped(outcome);
            }
        }
        if !case.agreed.is_empty() {
            let agreed = compile(&policy_of(&case.agreed), &root, case.fit);
            assert!(!tells(&agreed, case.side, case.kind), "{:?}: {:#?}", case.kind, agreed.gaps());
        }
    }
}

#[test]
fn who_may_create_and_remove_renames_without_more_and_folders_too() {
    let world = world();
    let root = world.path().join("root");
    let verbs =
        |verbs: &str| policy_of(&allow(&format!("files = [\"d:in/**\"]\nverbs = [{verbs}]\nhidden = true")));
    let policy = verbs("\"create\", \"remove\"");
    let confinement = compile(&policy, &root, Fit::Inside);
    assert!(denies(&policy, "read d:in/a") && tells(&confinement, Side::Wider, GapKind::Renames));
    confined(&confinement, |_| {
        fs::rename(root.join("in/a"), root.join("in/b")).unwrap();
        fs::rename(root.join("in/secret"), root.join("in/known")).unwrap();
    });
    let confinement = compile(&verbs("\"create\", \"read\""), &root, Fit::Inside);
    assert!(!tells(&confinement, Side::Wider, GapKind::Renames));
    confined(&confinement, |_| is_stopped(fs::rename(root.join("in/b"), root.join("in/a"))));
}

#[test]
fn files_with_several_names_and_fifos_are_files_to_the_kernel() {
    let world = world();
    let at = |path: &str| world.path().join(path);
    fs::hard_link(at("outside/o"), at("root/in/hard")).unwrap();
    let fifo = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, at("root/in/fifo"), fifo.0, fifo.1, 0).unwrap();
    let rules = allow("files = [\"d:in/**\"]\nhidden = true");
    let policy = policy_of(&rules);
    let around = compile(&policy, &at("root"), Fit::Around);
    assert!(tells(&around, Side::Wider, GapKind::OddFiles));
    confined(&around, |_| {
        assert_eq!(fs::read_to_string(at("root/in/hard")).unwrap(), "outside/o");
        OpenOptions::new().read(true).write(true).open(at("root/in/fifo")).unwrap();
    });
    // Where files are granted one by one, these are not.
    let inside = policy_of(&(rules + &deny("files = [\"d:in/**/nothing\"]")));
    let inside = compile(&inside, &at("root"), Fit::Inside);
    assert!(!tells(&inside, Side::Wider, GapKind::OddFiles));
    confined(&inside, |_| {
        assert!(fs::read(at("root/in/a")).is_ok());
        is_stopped(fs::read(at("root/in/hard")));
        is_stopped(OpenOptions::new().read(true).write(true).open(at("root/in/fifo")));
    });
}

#[test]
fn a_file_is_not_moved_to_where_the_kernel_allows_more() {
    let world = world();
    let root = world.path().join("root");
    let rules = |verbs: &str| {
        policy_of(&(allow(&format!("files = [\"d:in/**\"]\nverbs = [{verbs}]\nhidden = true")) + &allow(OUT)))
    };
    let policy = rules("\"read\", \"remove\"");
    let confinement = compile(&policy, &root, Fit::Around);
    assert!(!denies(&policy, "read d:in/a") && !denies(&policy, "remove d:in/a"));
    assert!(tells(&confinement, Side::Narrower, GapKind::Moves));
    confined(&confinement, |_| is_stopped(fs::rename(root.join("in/a"), root.join("out/a"))));
    let agreed = compile(&rules("\"read\", \"remove\", \"write\""), &root, Fit::Around);
    assert!(!tells(&agreed, Side::Narrower, GapKind::Moves));
    confined(&agreed, |_| fs::rename(root.join("in/a"), root.join("out/a")).unwrap());
}

#[test]
fn a_whole_new_file_takes_the_right_to_remove() {
    let world = world();
    let root = world.path().join("root");
    let rules = "files = [\"d:out/**\"]\nverbs = [\"create\", \"write\"]\nhidden = true";
    let confinement = compile(&policy_of(&allow(rules)), &root, Fit::Inside);
    assert!(tells(&confinement, Side::Narrower, GapKind::Replacing));
    confined(&confinement, |_| {
        fs::write(root.join("out/new"), "").unwrap();
        is_stopped(fs::rename(root.join("out/new"), root.join("out/b")));
    });
    let confinement = compile(&policy_of(&allow(OUT)), &root, Fit::Inside);
    assert!(!tells(&confinement, Side::Narrower, GapKind::Replacing));
    confined(&confinement, |_| fs::rename(root.join("out/new"), root.join("out/b")).unwrap());
}

/// A listener and its port.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn connect(port: u16) -> io::Result<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop)
}

#[test]
fn a_port_is_open_to_every_host_or_to_none() {
    let world = world();
    let ((_one, allowed), (_other, other)) = (listener(), listener());
    let policy = policy_of(&allow(&format!("connect = [\"192.0.2.1:{allowed}\"]")));
    let around = compile(&policy, world.path(), Fit::Around);
    assert!(denies(&policy, &format!("connect 127.0.0.1:{allowed}")));
    assert!(tells(&around, Side::Wider, GapKind::Hosts));
    confined(&around, |_| {
        connect(allowed).unwrap();
        is_stopped(connect(other));
    });
    let inside = compile(&policy, world.path(), Fit::Inside);
    assert!(tells(&inside, Side::Narrower, GapKind::Hosts) && !tells(&inside, Side::Wider, GapKind::Hosts));
    confined(&inside, |_| is_stopped(connect(allowed)));
    // A rule for every host is known to the kernel as it is.
    let every = allow(&format!("connect = [\"*:{allowed}\"]\nprivate = true\nbroad = true"));
    for fit in [Fit::Around, Fit::Inside] {
        let confinement = compile(&policy_of(&every), world.path(), fit);
        assert!(!confinement.gaps().iter().any(|gap| gap.kind == GapKind::Hosts));
        confined(&confinement, |_| {
            connect(allowed).unwrap();
            is_stopped(connect(other));
        });
        let denied = policy_of(&(every.clone() + &deny(&format!("connect = [\"*:{allowed}\"]"))));
        confined(&compile(&denied, world.path(), fit), |_| is_stopped(connect(allowed)));
    }
}

#[test]
fn ports_are_listed_up_to_a_bound_and_beyond_it_not_looked_at() {
    let world = world();
    let (_listener, port) = listener();
    let begin = if port > 32_768 { 1_000 } else { 40_000 };
    let ports = |len: u16| allow(&format!("connect = [\"192.0.2.1:{begin}-{}\"]", begin + len - 1));
    let listed = compile(&policy_of(&ports(1024)), world.path(), Fit::Around);
    assert!(!tells(&listed, Side::Wider, GapKind::Ports));
    confined(&listed, |report| {
        assert_eq!(report.connect, Seen::Holds);
        is_stopped(connect(port));
    });
    let policy = policy_of(&ports(1025));
    let open = compile(&policy, world.path(), Fit::Around);
    assert!(denies(&policy, &format!("connect 192.0.2.1:{port}")));
    assert!(tells(&open, Side::Wider, GapKind::Ports));
    confined(&open, |report| {
        assert_eq!(report.connect, Seen::NotAsked);
        connect(port).unwrap();
    });
}

#[test]
fn datagrams_pass_where_a_rule_needs_some_and_nowhere_else() {
    let world = world();
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let send =
        || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|from| from.send_to(b"x", ("127.0.0.1", port)));
    let policy = policy_of(&allow("send = [\"192.0.2.1:9\"]"));
    let around = compile(&policy, world.path(), Fit::Around);
    assert!(denies(&policy, &format!("send 127.0.0.1:{port}")));
    assert!(tells(&around, Side::Wider, GapKind::Datagrams));
    confined(&around, |_| assert_eq!(send().unwrap(), 1));
    let inside = compile(&policy, world.path(), Fit::Inside);
    assert!(
        tells(&inside, Side::Narrower, GapKind::Datagrams)
            && !tells(&inside, Side::Wider, GapKind::Datagrams)
    );
    confined(&inside, |_| is_stopped(send()));
    let none = compile(&policy_of(&allow(OUT)), world.path(), Fit::Around);
    assert!(!none.gaps().iter().any(|gap| gap.kind == GapKind::Datagrams));
    confined(&none, |_| is_stopped(send()));
}

#[test]
fn who_may_listen_somewhere_listens_at_a_port_that_is_given() {
    let world = world();
    let listen = || {
        use rustix::net::{AddressFamily, SocketType, getsockname, listen, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        listen(&socket, 1)?;
        io::Result::Ok(std::net::SocketAddr::try_from(getsockname(&socket)?).unwrap().port())
    };
    let policy = policy_of(&allow("listen = [\"127.0.0.1:9\"]"));
    let confinement = compile(&policy, world.path(), Fit::Around);
    assert!(tells(&confinement, Side::Wider, GapKind::FreePorts));
    let given = confined(&confinement, |_| {
        is_stopped(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        listen().unwrap()
    });
    assert!(denies(&policy, &format!("listen 0.0.0.0:{given}")));
    let policy = policy_of(&allow("connect = [\"127.0.0.1:9\"]"));
    let confinement = compile(&policy, world.path(), Fit::Around);
    assert!(!tells(&confinement, Side::Wider, GapKind::FreePorts));
    confined(&confinement, |_| is_stopped(listen()));
}

#[test]
fn a16_sockets_that_have_a_path_are_out_of_reach_unless_granted() {
    let world = world();
    let root = world.path().join("root");
    let path = world.path().join("outside/socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let policy = policy_of(&allow(ALL));
    let confinement = compile(&policy, &root, Fit::Around);
    assert!(!tells(&confinement, Side::Wider, GapKind::UnixSockets));
    confined(&confinement, |_| is_stopped(UnixStream::connect(&path)));
    let confinement = confinement.with_unix_sockets().unwrap();
    if tells(&confinement, Side::Wider, GapKind::UnixSockets) {
        confined(&confinement, |_| UnixStream::connect(&path).map(drop).unwrap());
    } else {
        // A kernel that knows them by their path.
        confined(&confinement, |_| is_stopped(UnixStream::connect(&path)));
    }
}

#[test]
fn what_is_granted_beside_the_policy_is_told() {
    let world = world();
    let at = |path: &str| world.path().join(path);
    let beside = Root::open(&at("outside")).unwrap();
    let policy = policy_of(&allow(OUT));
    let confinement = compile(&policy, &at("root"), Fit::Inside);
    assert!(!tells(&confinement, Side::Wider, GapKind::Beside));
    confined(&confinement, |_| is_stopped(fs::read(at("outside/o"))));
    let reads = confinement.with_folder(&beside, Reach::Read).unwrap();
    assert!(tells(&reads, Side::Wider, GapKind::Beside));
    confined(&reads, |_| {
        fs::read(at("outside/o")).unwrap();
        is_stopped(fs::write(at("outside/o"), ""));
    });
    let changes = reads.with_folder(&beside, Reach::Change).unwrap();
    confined(&changes, |_| fs::write(at("outside/o"), "").unwrap());
}

#[test]
fn a_program_runs_with_any_arguments_or_not_at_all() {
    let world = world();
    let root = world.path().join("root");
    let program = fs::canonicalize("/bin/echo").unwrap();
    let program = program.to_str().unwrap();
    let policy = policy_of(&allow(&format!("run = \"{program}\"\nargs = [\"hello\"]")));
    let confinement = compile(&policy, &root, Fit::Inside).with_libraries().unwrap();
    assert!(denies(&policy, &format!("run {program} other")));
    assert!(tells(&confinement, Side::Wider, GapKind::Arguments));
    let run = |program: &OsStr| std::process::Command::new(program).arg("other").env_clear().output();
    confined(&confinement, |_| {
        assert_eq!(run(OsStr::new(program)).unwrap().stdout, b"other\n");
        is_stopped(run(OsStr::new("/bin/cat")));
    });
    // A rule that denies it whatever comes after it is known to the kernel as it is.
    let denied = allow(&format!("run = \"{program}\"")) + &deny(&format!("run = \"{program}\""));
    let confinement = compile(&policy_of(&denied), &root, Fit::Inside).with_libraries().unwrap();
    assert!(!tells(&confinement, Side::Wider, GapKind::Arguments));
    confined(&confinement, |_| is_stopped(run(OsStr::new(program))));
    // A folder is no program: everything in it would be one.
    let folder = policy_of(&allow("run = \"/usr/bin\""));
    let confinement = compile(&folder, &root, Fit::Inside).with_libraries().unwrap();
    assert!(tells(&confinement, Side::Narrower, GapKind::Missing));
    confined(&confinement, |_| is_stopped(run(OsStr::new(program))));
}
