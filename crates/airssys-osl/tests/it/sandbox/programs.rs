//! Programs that are started confined, a process that confines itself, and what each of them then tries in vain.

use std::ffi::CString;
use std::process::{Command, Output, Stdio};

use super::*;
use crate::process::{PATH, ROLE};

/// This test binary, as a program in a role.
fn program(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // Alone, a test runs on the first thread, and no other is started.
    command.args(["--exact", "process::other", "--nocapture", "--test-threads=1"]);
    command.env_clear().env(ROLE, role).env(PATH, path).stdin(Stdio::null());
    command
}

/// What may run this test binary, beside other rules.
fn with_program(rules: &str) -> Policy {
    let program = std::env::current_exe().unwrap();
    policy_of(&format!(
        "{rules}{}",
        allow(&format!("run = {:?}\nargs = [\"**\"]", program.to_str().unwrap()))
    ))
}

/// What it said of each thing it tried.
fn said(output: &Output) -> std::collections::BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().filter_map(|line| line.rsplit_once("tried "));
    lines
        .filter_map(|(_, line)| line.split_once(": "))
        .map(|(what, how)| (what.to_owned(), how.to_owned()))
        .collect()
}

#[allow(clippy::print_stdout, reason = "the process that started this one reads it")]
fn tell<T>(what: &str, outcome: io::Result<T>) {
    match outcome {
        Ok(_) => println!("\ntried {what}: done"),
        Err(error) => println!("\ntried {what}: {error}"),
    }
}

/// A program that tries what it must not do. Nothing here is confined by itself.
pub(crate) fn attack(path: &Path) {
    let at = |below: &str| path.join(below);
    let host = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid().unsigned_abs());
    tell("read inside", fs::read(at("root/in/a")));
    tell("write inside", fs::write(at("root/out/new"), "new"));
    tell("read outside", fs::read(at("outside/o")));
    tell("write a root for reading", fs::write(at("root/in/a"), "x"));
    tell("read the log", fs::read_dir(at("log")));
    let note = |name: &str| fs::read_to_string(at("root/in").join(name)).expect("it may be read");
    tell("add to the log", OpenOptions::new().append(true).open(note("segment")));
    tell("remove the log", fs::rename(at("log"), at("gone")));
    tell("read memory by path", File::open(format!("/proc/{host}/mem")));
    tell("write memory by path", OpenOptions::new().write(true).open(format!("/proc/{host}/mem")));
    tell("trace the host", raw::trace(host));
    tell("write memory of the host", raw::write_memory(host));
    tell("signal the host", signal(host));
    let c = |below: &str| CString::new(at(below).to_str().unwrap()).unwrap();
    tell("mount", raw::bind_mount(&c("outside"), &c("root/out")));
    tell("connect", connect(note("port").parse().unwrap()));
    tell(
        "make a user namespace",
        raw::call(libc::SYS_unshare, [u64::from(libc::CLONE_NEWUSER.unsigned_abs()), 0, 0, 0]),
    );
    tell("run a shell", Command::new("/bin/sh").arg("-c").arg("exit 0").status());
}

fn signal(pid: u32) -> io::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    Ok(rustix::process::test_kill_process(pid)?)
}

fn connect(port: u16) -> io::Result<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop)
}

/// What the program says when it is started free, and when it is started confined.
fn free_and_confined() -> [std::collections::BTreeMap<String, String>; 2] {
    [false, true].map(|is_confined| {
        let world = world();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        fs::write(world.path().join("root/in/port"), listener.local_addr().unwrap().port().to_string())
            .unwrap();
        let log = world.path().join("log");
        let options = AuditOptions::default();
        let rules = allow("files = [\"d:in/**\"]\nverbs = [\"read\", \"list\"]\nhidden = true")
            + &allow("files = [\"d:out/**\"]\nhidden = true");
        let gate = gate_by("version = 1", &log, options);
        Files::new(gate.clone(), []).read(&tool(), "d:in/a", 1).unwrap_err();
        let segment = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
        let segment =
            segment.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).min().unwrap();
        fs::write(world.path().join("root/in/segment"), segment.to_str().unwrap()).unwrap();
        let policy = with_program(&rules);
        let confinement = compile(&policy, &world.path().join("root"), Fit::Inside).with_libraries().unwrap();
        confinement.must_not_reach(&Root::open(&log).unwrap()).unwrap();
        let above = Root::open(world.path()).unwrap();
        assert!(
            matches!(confinement.must_not_reach(&above), Err(ConfinementError::Reaches { .. })),
            "something below it is granted"
        );
        let output = if is_confined {
            confined(&confinement, |_| program("attack", world.path()).output().unwrap())
        } else {
            program("attack", world.path()).output().unwrap()
        };
        drop(gate);
        if is_confined {
            // The log is as it was, whatever was tried.
            airssys_osl::audit::verify(&Root::open(&log).unwrap(), None).unwrap();
            assert_eq!(fs::read_to_string(world.path().join("root/in/a")).unwrap(), "root/in/a");
        }
        said(&output)
    })
}

/// Was done by the free program, and not by the confined one. What nobody may do who is not root shows nothing.
#[track_caller]
fn is_walled(
    [free, confined]: &[std::collections::BTreeMap<String, String>; 2],
    what: &str,
    done: &str,
    stopped: &[&str],
) {
    assert!(!is_root() || free[what].contains(done), "{what} by the free program: {}", free[what]);
    assert!(stopped.iter().any(|text| confined[what].contains(text)), "{what}: {}", confined[what]);
}

const DENIED: &[&str] = &["Permission denied", "Operation not permitted"];

#[test]
fn f17_a_confined_program_neither_traces_nor_writes_the_memory_of_its_host() {
    let said = free_and_confined();
    is_walled(&said, "trace the host", "done", DENIED);
    is_walled(&said, "write memory of the host", "Bad address", DENIED);
    is_walled(&said, "read memory by path", "done", DENIED);
    is_walled(&said, "write memory by path", "done", DENIED);
    is_walled(&said, "signal the host", "done", DENIED);
}

#[test]
fn m10_a_confined_program_neither_reads_nor_changes_the_log() {
    let said = free_and_confined();
    is_walled(&said, "read the log", "done", DENIED);
    is_walled(&said, "add to the log", "done", DENIED);
    is_walled(
        &said,
        "remove the log",
        "",
        &["Permission denied", "Operation not permitted", "Invalid cross-device"],
    );
}

#[test]
fn b8_a_confined_program_changes_no_mounts() {
    let said = free_and_confined();
    assert!(DENIED.iter().any(|text| said[1]["mount"].contains(text)), "{}", said[1]["mount"]);
    assert!(DENIED.iter().any(|text| said[1]["make a user namespace"].contains(text)), "{said:?}");
}

#[test]
fn a_confined_program_has_the_files_of_the_policy_and_nothing_else() {
    let said = free_and_confined();
    for what in ["read inside", "write inside"] {
        assert_eq!((&*said[0][what], &*said[1][what]), ("done", "done"), "{what}");
    }
    for what in ["read outside", "write a root for reading", "connect", "run a shell"] {
        assert_eq!(said[0][what], "done", "{what}");
        assert!(DENIED.iter().any(|text| said[1][what].contains(text)), "{what}: {}", said[1][what]);
    }
}

/// A process that confines itself whole, works on through the gate, and then tries to pass it by.
pub(crate) fn confine(path: &Path) {
    assert!(raw::alone(|| confine_alone(path)));
}

fn confine_alone(path: &Path) {
    let at = |below: &str| path.join(below);
    let text = "version = 1\n[[subject]]\nname = \"one\"\n[[subject.allow]]\nfiles = [\"d:in/**\"]\n\
         [[subject]]\nname = \"two\"\n[[subject.allow]]\nfiles = [\"d:out/**\"]\n";
    let log = Root::private(&at("log")).unwrap();
    let (policy, root) = (Policy::parse(text, "policy.toml").unwrap(), Root::open(&at("root")).unwrap());
    let confinement = Confinement::new(&policy, Whose::Everyone, [(&name(), &root)], Fit::Around)
        .and_then(|confinement| confinement.with_folder(&log, Reach::Change))
        .unwrap();
    let several = std::thread::scope(|scope| {
        let (end, ended) = mpsc::channel::<()>();
        scope.spawn(move || ended.recv());
        let outcome = confinement.apply_to_process(Requirement::Must);
        drop(end);
        outcome
    });
    match several {
        Err(ConfinementError::Threads { len: 2 }) => {
            tell::<()>("several threads", Err(io::Error::other("refused")));
        }
        Ok(report) => assert!(report.whole_process, "{report}"),
        Err(error) => panic!("{error:?}"),
    }
    // A filter that somebody else put up, as containers have, is not this wall's.
    let calls = std::iter::once((libc::SYS_acct, Vec::new())).collect();
    let (allow, refuse) = (seccompiler::SeccompAction::Allow, seccompiler::SeccompAction::Errno(1));
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = seccompiler::SeccompFilter::new(calls, allow, refuse, arch).unwrap();
    seccompiler::apply_filter(&seccompiler::BpfProgram::try_from(filter).unwrap()).unwrap();
    // A thread that ended may be counted for a moment.
    let begin = std::time::Instant::now();
    let report = loop {
        match confinement.apply_to_process(Requirement::Must) {
            Err(ConfinementError::Threads { .. }) if begin.elapsed().as_secs() < 20 => {
                std::thread::yield_now()
            }
            outcome => break outcome.unwrap(),
        }
    };
    assert!(report.whole_process && !report.calls_filtered && report.no_new_privileges, "{report}");
    // The log has threads of its own, which are confined like this one.
    let options = AuditOptions { segment_bytes_max: 0, ..AuditOptions::default() };
    let files = Files::new(gate_by(text, &at("log"), options), [(name(), root)]);
    let [one, two] = ["one", "two"].map(|name| Subject::parse(name).unwrap());
    for n in 0..3 {
        files.write(&two, "d:out/new", format!("{n}").as_bytes()).unwrap();
        assert_eq!(files.read(&one, "d:in/a", 100).unwrap(), b"root/in/a");
        files.list(&two, "d:out", 10).unwrap();
    }
    assert!(matches!(files.read(&one, "d:out/new", 100), Err(FilesError::Denied(_))));
    tell("read outside", fs::read(at("outside/o")));
    tell(
        "read outside on a thread",
        std::thread::spawn({
            let path = at("outside/o");
            move || fs::read(path)
        })
        .join()
        .unwrap(),
    );
    // One folder of all subjects together: the gate tells them apart, the wall does not.
    tell("read inside", fs::read(at("root/out/new")));
    let kinds: Vec<GapKind> = report.gaps.iter().map(|gap| gap.kind).collect();
    assert!(kinds.contains(&GapKind::OtherSockets) && kinds.contains(&GapKind::FreePorts));
    let family = |family: i32| u64::from(family.unsigned_abs());
    tell(
        "another socket",
        raw::call(libc::SYS_socket, [family(libc::AF_NETLINK), family(libc::SOCK_RAW), 0, 0]),
    );
    tell("bind", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
}

#[test]
fn a_process_that_is_confined_works_through_the_gate_and_reaches_nothing_else() {
    let world = world();
    let said = said(&program("confine", world.path()).output().unwrap());
    let refused = said.get("several threads").is_none_or(|outcome| outcome == "refused");
    assert!(refused, "{said:?}");
    for what in ["read outside", "read outside on a thread", "bind"] {
        assert!(DENIED.iter().any(|text| said[what].contains(text)), "{what}: {}", said[what]);
    }
    assert_eq!((&*said["read inside"], &*said["another socket"]), ("done", "done"));
}

#[test]
fn a_program_behind_the_gate_is_confined_and_still_does_its_work() {
    use airssys_osl::{Exit, Program, Programs, ProgramsError, ProgramsOptions};
    use std::sync::Arc;
    let world = world();
    let real = |path: &str| fs::canonicalize(path).unwrap().into_os_string().into_string().unwrap();
    let (sh, cat) = (real("/bin/sh"), real("/bin/cat"));
    let rules = allow("files = [\"d:in/**\"]\nverbs = [\"read\", \"list\", \"stat\"]\nhidden = true")
        + &allow("files = [\"d:out/**\"]\nhidden = true")
        + &allow(&format!("run = {sh:?}\nargs = [\"-c\", \"*\"]\nbroad = true"))
        + &allow(&format!("run = {cat:?}\nargs = [\"**\"]"));
    let text = format!("version = 1\n[[subject]]\nname = \"tool\"\n{rules}");
    let gate = gate_by(&text, &world.path().join("log"), AuditOptions::default());
    let root = || Root::open(&world.path().join("root")).unwrap();
    let files = Files::new(gate.clone(), [(name(), root())]);
    let confinement = Confinement::of_files(&files, Whose::Subject(&tool()), Fit::Inside)
        .and_then(Confinement::with_libraries)
        .unwrap();
    let report = confinement.report(Requirement::Must).unwrap();
    assert_eq!((report.files, report.calls_filtered), (Seen::Holds, true), "{report}");
    let confinement = Arc::new(confinement);
    let programs = Programs::new(gate, [(name(), root())], ProgramsOptions::default());
    let run = |line: &str, is_confined: bool| {
        let program = Program::new(&sh)
            .arg("-c")
            .arg(&line.replace('#', "@/root").replace('@', world.path().to_str().unwrap()));
        let program =
            if is_confined { program.confined_by(confinement.clone(), Requirement::Must) } else { program };
        programs.run_blocking(&tool(), program).unwrap()
    };
    let status = run("while read line; do echo \"$line\"; done < #/in/a; echo made > #/out/made", true);
    assert_eq!((&status.exit, &*status.stdout), (&Exit::Code(0), b"" as &[u8]), "a last line without an end");
    assert_eq!(fs::read_to_string(world.path().join("root/out/made")).unwrap(), "made\n");
    let shown = run(&format!("exec {cat} #/in/a"), true);
    assert_eq!((&shown.exit, &*shown.stdout), (&Exit::Code(0), b"root/in/a" as &[u8]));
    for line in [
        format!("exec {cat} @/outside/o"),
        format!("exec {cat} @/log/*"),
        "echo x > #/in/a".to_owned(),
        "echo x > @/outside/o".to_owned(),
        "exec /bin/ls #/in".to_owned(),
    ] {
        let output = run(&line, true);
        assert!(!matches!(output.exit, Exit::Code(0)) && output.stdout.is_empty(), "{line}: {output:?}");
    }
    // By a program that is not confined the same is done.
    assert_eq!(run(&format!("exec {cat} @/outside/o"), false).stdout, b"outside/o");
    // However many files the host has open, and however few the program may have.
    let many: Vec<File> = (0..64).map(|_| File::open("/dev/null").unwrap()).collect();
    let limits = airssys_osl::Limits { open_files_max: 16, ..Default::default() };
    let program = Program::new(&cat).confined_by(confinement.clone(), Requirement::Must).limits(limits);
    assert_eq!(programs.run_blocking(&tool(), program).unwrap().exit, Exit::Code(0));
    drop(many);
    // A program that the wall does not know is not started, though the gate would let it pass.
    let nothing =
        compile(&policy_of(&allow("files = [\"d:in/**\"]")), &world.path().join("root"), Fit::Inside);
    let program = Program::new(&cat).confined_by(Arc::new(nothing), Requirement::Must);
    let outcome = programs.run_blocking(&tool(), program);
    assert!(matches!(outcome, Err(ProgramsError::Start { step: "execute its file", .. })), "{outcome:?}");
}

#[test]
fn calls_that_lead_out_are_refused_to_a_confined_thread() {
    let world = world();
    let policy = policy_of(&allow("connect = [\"*:443\"]\nprivate = true\nbroad = true"));
    let confinement = compile(&policy, world.path(), Fit::Inside);
    let flag = |flag: i32| u64::from(flag.unsigned_abs());
    let inet = flag(libc::AF_INET);
    let (unix, stream) = (flag(libc::AF_UNIX), flag(libc::SOCK_STREAM));
    let refused: &[(&str, libc::c_long, [u64; 4], i32)] = &[
        ("bpf", libc::SYS_bpf, [0; 4], libc::EPERM),
        ("outliving", libc::SYS_prctl, [flag(libc::PR_SET_PDEATHSIG), 0, 0, 0], libc::EPERM),
        ("keyctl", libc::SYS_keyctl, [0; 4], libc::EPERM),
        ("io_uring", libc::SYS_io_uring_setup, [1, 0, 0, 0], libc::EPERM),
        ("open by handle", libc::SYS_open_by_handle_at, [0; 4], libc::EPERM),
        ("userfaultfd", libc::SYS_userfaultfd, [0; 4], libc::EPERM),
        ("setns", libc::SYS_setns, [0; 4], libc::EPERM),
        ("clone3", libc::SYS_clone3, [0; 4], libc::ENOSYS),
        ("a thread in a new network", libc::SYS_clone, [flag(libc::CLONE_NEWNET), 0, 0, 0], libc::EPERM),
        ("typing", libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0], libc::EPERM),
        (
            "typing, with bits that are not read",
            libc::SYS_ioctl,
            [0, 1 << 32 | libc::TIOCSTI, 0, 0],
            libc::EPERM,
        ),
        ("personality", libc::SYS_personality, [8, 0, 0, 0], libc::EPERM),
        ("vsock", libc::SYS_socket, [flag(libc::AF_VSOCK), stream, 0, 0], libc::EPERM),
        ("unix", libc::SYS_socket, [flag(libc::AF_UNIX), stream, 0, 0], libc::EPERM),
        ("a pair of datagrams", libc::SYS_socketpair, [unix, flag(libc::SOCK_DGRAM), 0, 0], libc::EPERM),
        ("a raw pair", libc::SYS_socketpair, [unix, flag(libc::SOCK_RAW), 0, 0], libc::EPERM),
        // A pair that can reach no other is made; here it has nowhere to be put.
        ("a pair of streams", libc::SYS_socketpair, [unix, stream, 0, 0], libc::EFAULT),
        ("limits of another", libc::SYS_prlimit64, [1, u64::from(libc::RLIMIT_CPU), 16, 0], libc::EPERM),
        ("own limits", libc::SYS_prlimit64, [0, u64::from(libc::RLIMIT_CPU), 16, 0], libc::EFAULT),
        ("a tree with attributes", 467, [0; 4], libc::EPERM),
        ("raw", libc::SYS_socket, [inet, flag(libc::SOCK_RAW), flag(libc::IPPROTO_ICMP), 0], libc::EPERM),
        ("datagrams", libc::SYS_socket, [inet, flag(libc::SOCK_DGRAM), 0, 0], libc::EPERM),
        ("multipath", libc::SYS_socket, [inet, stream, flag(libc::IPPROTO_MPTCP), 0], libc::EPERM),
        (
            "multipath, not waiting",
            libc::SYS_socket,
            [inet, stream | flag(libc::SOCK_NONBLOCK), flag(libc::IPPROTO_MPTCP), 0],
            libc::EPERM,
        ),
        ("connecting by sending", libc::SYS_sendto, [0, 0, 0, flag(libc::MSG_FASTOPEN)], libc::EPERM),
        ("connecting by a message", libc::SYS_sendmsg, [0, 0, flag(libc::MSG_FASTOPEN), 0], libc::EPERM),
        ("listening", libc::SYS_listen, [0; 4], libc::EPERM),
    ];
    confined(&confinement, |_| {
        for (what, number, arguments, errno) in refused {
            let error = raw::call(*number, *arguments).expect_err(what);
            assert_eq!(error.raw_os_error(), Some(*errno), "{what}: {error}");
        }
        raw::call(libc::SYS_socket, [inet, stream, flag(libc::IPPROTO_TCP), 0]).unwrap();
        raw::call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0]).unwrap();
    });
}

#[test]
fn a_confined_thread_says_nothing_to_what_listens_by_a_path() {
    use std::os::unix::net::UnixDatagram;
    let world = world();
    let path = world.path().join("outside/listens");
    let listener = UnixDatagram::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let says = || UnixDatagram::pair().and_then(|(socket, _peer)| socket.send_to(b"x", &path));
    assert_eq!(says().unwrap(), 1, "a socket of a pair reaches others");
    assert_eq!(listener.recv(&mut [0; 2]).unwrap(), 1);
    let confinement = compile(&policy_of(""), world.path(), Fit::Inside);
    confined(&confinement, |_| is_stopped(says()));
    assert_eq!(listener.recv(&mut [0; 2]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_kernel_without_landlock_is_told_and_an_error_where_it_must_be_there() {
    use seccompiler::{SeccompAction, SeccompFilter};
    let world = world();
    let at = |path: &str| world.path().join(path);
    std::thread::scope(|scope| {
        let without = || {
            // What an old kernel answers, by the kernel's own means.
            let calls = [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self];
            let filter = SeccompFilter::new(
                calls.map(|call| (call, Vec::new())).into(),
                SeccompAction::Allow,
                SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
                std::env::consts::ARCH.try_into().unwrap(),
            );
            let filter: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
            seccompiler::apply_filter(&filter).unwrap();
            let policy = policy_of(&allow("files = [\"d:in/**\"]"));
            let confinement = compile(&policy, &at("root"), Fit::Inside);
            let error = confinement.apply_to_thread(Requirement::Must).unwrap_err();
            assert!(matches!(error, ConfinementError::Absent { part: "files" }), "{error:?}");
            let report = confinement.apply_to_thread(Requirement::BestEffort).unwrap();
            assert_eq!((report.landlock_abi, report.files), (None, Seen::Absent));
            assert!(report.parts().iter().all(|(_, seen)| *seen == Seen::Absent), "{report}");
            assert!(report.to_string().starts_with("landlock: absent\n"));
            let read = Access::parse("read d:out/b").unwrap();
            let is_about =
                |gap: &Gap| gap.kind == GapKind::OldKernel && gap.side == Side::Wider && gap.is_about(&read);
            assert!(report.gaps.iter().any(is_about));
            fs::read(at("root/out/b")).expect("nothing stops it, as was told");
            // The filter of calls holds all the same.
            assert!(report.calls_filtered);
            is_stopped(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
        };
        scope.spawn(without).join().unwrap();
    });
}

#[test]
fn a_folder_that_must_stay_out_of_reach_is_found_above_below_and_as_it_is() {
    let world = world();
    let at = |path: &str| Root::open(&world.path().join(path)).unwrap();
    let policy = policy_of(&allow("files = [\"d:in/**\"]\nhidden = true"));
    let confinement = compile(&policy, &world.path().join("root"), Fit::Inside);
    for path in ["root/in", "root/in/secret", "root", ""] {
        let error = confinement.must_not_reach(&at(path));
        assert!(matches!(error, Err(ConfinementError::Reaches { .. })), "{path}");
    }
    for path in ["root/out", "outside"] {
        confinement.must_not_reach(&at(path)).unwrap();
    }
    // One file that is granted is enough.
    let one = policy_of(&allow("files = [\"d:in/secret/key\"]"));
    let confinement = compile(&one, &world.path().join("root"), Fit::Inside);
    assert!(confinement.must_not_reach(&at("root/in/secret")).is_err());
    confinement.must_not_reach(&at("root/out")).unwrap();
}

#[test]
fn what_is_looked_at_and_the_rules_have_bounds() {
    let world = world();
    let root = world.path().join("root");
    let policy = policy_of(&allow("files = [\"d:in/a*\"]"));
    let build = |policy: &Policy, fit| {
        let folder = Root::open(&root).unwrap();
        Confinement::new(policy, Whose::Subject(&tool()), [(&name(), &folder)], fit)
    };
    // In the root and in the one folder that is looked into.
    let there = 5;
    for n in there..4096 {
        File::create(root.join(format!("f{n}"))).unwrap();
    }
    build(&policy, Fit::Inside).unwrap();
    File::create(root.join("more")).unwrap();
    let error = build(&policy, Fit::Inside).unwrap_err();
    assert!(matches!(error, ConfinementError::TooManyFolders { limit: 4096 }), "{error:?}");
    build(&policy, Fit::Around).unwrap();
    let rules = |len: usize| {
        let list = |len: usize| allow(&format!("files = {:?}", vec!["d:in/a"; len]));
        policy_of(&(list(1000).repeat(9) + &list(len)))
    };
    build(&rules(1000), Fit::Around).unwrap();
    let error = build(&rules(1001), Fit::Around).unwrap_err();
    assert!(matches!(error, ConfinementError::TooManyRules { limit: 10_000 }), "{error:?}");
}
