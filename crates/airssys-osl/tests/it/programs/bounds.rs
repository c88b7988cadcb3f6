//! How programs end, with all that came of them, and the bounds that they cannot lift.

use super::*;

#[test]
fn f9_who_says_too_much_is_killed_and_what_came_is_kept() {
    let world = World::new();
    for (script, stream) in
        [("while :; do echo y; done", Stream::Stdout), ("while :; do echo y >&2; done", Stream::Stderr)]
    {
        let outcome = world.run(sh(script).limits(limits(|limits| limits.output_bytes_max = 1001)));
        let Err(ProgramsError::TooMuch { stream: found, bytes_max: 1001, output, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(found, stream);
        assert_eq!(output.stdout.len() + output.stderr.len(), 1001);
        assert_eq!(output.exit, Exit::Signal(9));
    }
    let told = world.told();
    assert_eq!(told[1], ("outcome".to_owned(), "failed".to_owned()));
    let exact = world.run(sh("printf 12345").limits(limits(|limits| limits.output_bytes_max = 5))).unwrap();
    assert_eq!(exact.stdout, b"12345");
    let over = world.run(sh("printf 123456").limits(limits(|limits| limits.output_bytes_max = 5)));
    assert!(matches!(over, Err(ProgramsError::TooMuch { .. })), "{over:?}");
}

#[test]
fn f12_a_grandchild_that_left_its_session_ends_with_the_program() {
    let world = World::new();
    let token = unique();
    let script =
        format!("(setsid sh -c 'sleep {token} & sleep {token}' > /dev/null 2>&1 &) ; sleep 0.3; echo up");
    // By itself.
    let output = world.run(sh(&script).limits(limits(|_| ()))).unwrap();
    assert_eq!(output.stdout, b"up\n");
    assert_eq!(alive(&token), 0, "held by {:?}", output.means);
    // When its time is over.
    let script = format!("{script}; sleep {token}");
    let outcome = world.run(sh(&script).timeout(Duration::from_secs(2)));
    assert!(
        matches!(&outcome, Err(ProgramsError::TimedOut { output, .. }) if output.exit == Exit::Signal(9)),
        "{outcome:?}"
    );
    assert_eq!(alive(&token), 0);
    // When nobody waits for it, or it is killed.
    runtime().block_on(async {
        let mut running = world.programs.start(&world.tool, sh(&script)).await.unwrap();
        running.stdout.take().unwrap().read_exact(&mut [0; 3]).await.unwrap();
        assert!(alive(&token) >= 3);
        running.signal(Signal::Kill).unwrap();
        assert_eq!(running.wait().await.unwrap().exit, Exit::Signal(9));
        assert_eq!(alive(&token), 0);
        let mut running = world.programs.start(&world.tool, sh(&script)).await.unwrap();
        running.stdout.take().unwrap().read_exact(&mut [0; 3]).await.unwrap();
        drop(running);
        comes("the tree of a dropped handle ends", || alive(&token) == 0);
        let run = world.programs.run(&world.tool, sh(&script));
        tokio::time::timeout(Duration::from_secs(1), run).await.unwrap_err();
        comes("the tree of a dropped future ends", || alive(&token) == 0);
    });
    comes("how it ended is on record", || {
        world.told().iter().filter(|(kind, _)| kind == "outcome").count() == 5
    });
    let outcomes: Vec<_> =
        world.told().into_iter().filter(|(kind, _)| kind == "outcome").map(|(_, of)| of).collect();
    assert_eq!(outcomes, ["done", "failed", "done", "failed", "failed"]);
}

#[test]
fn f13_no_zombie_and_no_descriptor_is_left_of_what_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start("drop-programs", folder.path(), None);
    assert_eq!(other.line(), "left 0 0 []");
}

#[test]
fn f14_one_program_more_than_may_run_is_refused_and_runs_when_there_is_room() {
    let world = World::with("", ProgramsOptions { children_max: 2, ..ProgramsOptions::default() });
    runtime().block_on(async {
        let start = async || world.programs.start(&world.tool, Program::new("/bin/cat")).await;
        let (one, two) = (start().await.unwrap(), start().await.unwrap());
        assert!(matches!(start().await, Err(ProgramsError::TooMany { max: 2 })));
        one.wait().await.unwrap();
        let three = start().await.unwrap();
        assert!(matches!(start().await, Err(ProgramsError::TooMany { max: 2 })));
        two.wait().await.unwrap();
        three.wait().await.unwrap();
    });
}

#[test]
fn f14_a_fork_bomb_ends_at_the_bound_that_the_report_names() {
    let world = World::new();
    let output = world.run(bomb()).unwrap();
    let is_bounded = output.stdout != b"all\n";
    assert!(is_bounded || output.means.processes.is_none(), "{:?}", output.means);
    if output.means.processes.is_none() {
        eprintln!("not shown here: nothing bounds processes, held by {:?}", output.means);
    }
    if is_root() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut other = Other::start("fork-bomb", folder.path(), Some(STRANGER));
        assert_eq!(other.line(), "the report is true");
    }
}

#[test]
fn f14_a_program_in_namespaces_of_its_own_does_not_lift_its_bound() {
    let own = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
    let args = ["--exact", "process::other", "--nocapture", "--test-threads=1"];
    let rule = format!("[[subject.allow]]\nrun = {own:?}\nargs = {args:?}");
    let world = World::with(&rule, ProgramsOptions::default());
    let bounded = limits(|limits| limits.processes_max = 20);
    let at = world.at_path("lift");
    fs::create_dir_all(at.join("root/in")).unwrap();
    let program = Program::new(&own)
        .args(args)
        .variable(crate::process::ROLE, "lift")
        .variable(crate::process::PATH, at.to_str().unwrap())
        .limits(bounded);
    let output = world.run(program).unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("tried: "), "{text}");
    if output.means.processes.is_none() || !text.contains("tried: true") {
        eprintln!("not shown here: held by {:?}, {text}", output.means);
    }
    assert!(output.means.processes.is_none() || !text.contains("all of them"), "{text}");
}

#[test]
fn f15_a_program_that_signals_everybody_reaches_nobody_outside() {
    let world = World::new();
    if world.run(sh("exit 0")).unwrap().means.tree != Boundary::Namespace {
        // Without one the system lets processes of a user signal each other, and this test would end the machine's.
        return;
    }
    runtime().block_on(async {
        let neighbour = world.programs.start(&world.tool, Program::new("/bin/cat")).await.unwrap();
        let says =
            world.says(sh("trap '' TERM; kill -TERM -1; kill -KILL -1; kill -TERM 0; echo still here"));
        assert_eq!(says, "still here\n", "and this process too");
        assert_eq!(neighbour.wait().await.unwrap().exit, Exit::Code(0));
    });
}

#[test]
fn f16_a_program_finds_no_process_outside_and_a_handle_reaches_its_own_alone() {
    let world = World::new();
    let own = std::process::id();
    let script = format!(
        "kill -0 {own} 2> /dev/null && echo host; kill -0 {} 2> /dev/null && echo parent; echo done",
        1u64 << 31
    );
    let output = world.run(sh(&script)).unwrap();
    if output.means.tree == Boundary::Namespace {
        assert_eq!(output.stdout, b"done\n");
    }
    runtime().block_on(async {
        let mut running = world.programs.start(&world.tool, sh("echo x")).await.unwrap();
        let mut said = Vec::new();
        running.stdout.take().unwrap().read_to_end(&mut said).await.unwrap();
        // Its number may belong to anybody by now, and the handle knows that it is gone.
        let end = Instant::now() + PATIENCE;
        while running.signal(Signal::User1).is_ok() {
            assert!(Instant::now() < end, "a program that has ended cannot be signalled");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(running.signal(Signal::Terminate), Err(ProgramsError::Signal { .. })));
        assert!(matches!(running.wait().await.unwrap().exit, Exit::Code(0) | Exit::Signal(_)));
    });
}

#[test]
fn f17_a_program_cannot_look_into_the_host() {
    let world = World::new();
    let own = std::process::id();
    let host = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    for file in ["environ", "mem", "auxv", "maps"] {
        let output = world.run(Program::new("/bin/cat").arg(&format!("/proc/{own}/{file}"))).unwrap();
        assert_ne!(output.exit, Exit::Code(0), "{file} by {:?}", output.means);
        assert!(!String::from_utf8_lossy(&output.stdout).contains(&host));
    }
    // Where it does not see the host's processes at all, nothing of theirs is to be found.
    let seen = world.run(sh(&format!("echo /proc/{own} /proc/{own}/*"))).unwrap();
    let listed = String::from_utf8(seen.stdout).unwrap();
    assert_eq!(seen.means.sees_host, listed.contains("status"), "{listed}");
    let spoils = world.run(sh(&format!("echo 1000 > /proc/{own}/oom_score_adj"))).unwrap();
    assert!(seen.means.sees_host || spoils.exit != Exit::Code(0));
}

/// Control groups below one whose names begin so.
fn groups(folder: &Path, prefix: &str) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|of| of.is_dir()));
    folders
        .map(|entry| {
            let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
            usize::from(is_one) + groups(&entry.path(), prefix)
        })
        .sum()
}

#[test]
fn f18_a_program_does_not_outlive_a_host_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start("run-program", folder.path(), None);
    let token = other.line();
    comes("the tree is up", || alive(&token) >= 3);
    other.kill();
    comes("the tree ends with its host", || alive(&token) == 0);
    // Its control groups are removed by the next host that runs a program.
    let maker: u32 = token[1..].split('.').next().unwrap().parse().unwrap();
    let prefix = format!("airssys-{maker}-");
    comes("nothing is left in the control groups", || {
        assert_eq!(Other::start("run-one", folder.path(), None).line(), "done");
        groups(Path::new("/sys/fs/cgroup"), &prefix) == 0
    });
}

#[test]
fn f19_a_program_cannot_lift_its_bounds() {
    let world = World::new();
    for script in [
        "ulimit -n 100000",
        "ulimit -c unlimited",
        "ulimit -t unlimited",
        "echo -1000 > /proc/self/oom_score_adj",
        "nice -n -5 true 2>&1 | grep -q . && exit 1; exit 0",
    ] {
        let output = world.run(sh(script)).unwrap();
        assert_ne!(output.exit, Exit::Code(0), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let own = limits(|limits| {
        limits.open_files_max = 17;
        limits.cpu_seconds_max = 5;
    });
    assert_eq!(world.says(sh("ulimit -n; ulimit -Hn; ulimit -t; ulimit -c").limits(own)), "17\n17\n5\n0\n");
}

#[test]
fn f19_each_bound_ends_or_stops_who_comes_to_it() {
    let world = World::new();
    let brief = limits(|limits| limits.cpu_seconds_max = 1);
    let busy = world.run(sh("while :; do :; done").limits(brief)).unwrap();
    assert!(matches!(busy.exit, Exit::Signal(_)), "{busy:?}");
    let small = limits(|limits| limits.file_bytes_max = 4096);
    world.run(sh("cat /dev/zero > large").folder("d:in").limits(small)).unwrap();
    assert_eq!(fs::metadata(world.at_path("root/in/large")).unwrap().len(), 4096);
    let narrow = limits(|limits| limits.memory_bytes_max = 64 << 20);
    let script = "x=0123456789abcdef; while [ ${#x} -lt 500000000 ]; do x=$x$x; done; echo all";
    let large = world.run(sh(script).limits(narrow)).unwrap();
    assert_ne!(large.stdout, b"all\n");
    let late = world.run(Program::new("/bin/sleep").arg(&unique()).timeout(Duration::from_millis(50)));
    assert!(matches!(late, Err(ProgramsError::TimedOut { .. })), "{late:?}");
    let never = world.run(Program::new("/bin/sleep").arg(&unique()).timeout(Duration::ZERO));
    assert!(matches!(never, Err(ProgramsError::TimedOut { .. })), "{never:?}");
    let ever = world.run(sh("exit 0").timeout(Duration::MAX)).unwrap();
    assert_eq!(ever.exit, Exit::Code(0));
}

/// Opens to be written what changes the whole machine, and writes nothing; then tries to get out of its control group.
const MEDDLES: &str = r#"
for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/power/state /sys/kernel/uevent_helper; do
    if test -e $file && (: >> $file) 2> /dev/null; then echo $file; fi
done
while IFS=: read -r number controllers path; do
    case "$controllers" in
        *pids*) mount=/sys/fs/cgroup/pids ;;
        '') mount=/sys/fs/cgroup; test -d "$mount$path" || mount=/sys/fs/cgroup/unified ;;
        *) continue ;;
    esac
    if test -e "$mount$path/pids.max" && (: >> "$mount$path/pids.max") 2> /dev/null; then echo pids.max; fi
    if mkdir "$mount$path/own" 2> /dev/null; then echo a group; rmdir "$mount$path/own"; fi
    if (: >> "$mount/cgroup.procs") 2> /dev/null; then echo another group; fi
done < /proc/self/cgroup
echo done
"#;

#[test]
fn f19_a_program_changes_no_setting_of_the_machine_and_does_not_leave_its_control_group() {
    let world = World::new();
    let output = world.run(sh(MEDDLES)).unwrap();
    if output.means.sees_host {
        eprintln!("not shown here: programs get no view of their own, held by {:?}", output.means);
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "held by {:?}", output.means);
}

#[test]
fn f20_texts_that_the_system_cannot_take_are_refused_before_it_is_asked() {
    let world = World::new();
    let cat = || Program::new("/bin/cat");
    assert!(matches!(world.run(cat().arg("a\0b")), Err(ProgramsError::Nul)));
    assert!(matches!(world.run(cat().variable("A", "a\0b")), Err(ProgramsError::Nul)));
    assert!(matches!(world.run(Program::new("/bin/cat\0x")), Err(ProgramsError::Path { .. })));
    assert!(matches!(world.run(cat().folder("d:in\0")), Err(ProgramsError::Path { .. })));
    let long = "x".repeat(2 << 20);
    assert!(matches!(world.run(cat().arg(&long)), Err(ProgramsError::TooLarge { .. })));
    assert!(matches!(world.run(cat().variable("A", &long)), Err(ProgramsError::TooLarge { .. })));
    assert!(matches!(world.run(cat().args(vec!["x"; 100_000])), Err(ProgramsError::TooLarge { .. })));
    assert!(matches!(world.run(cat().args(vec!["x"; 513])), Err(ProgramsError::TooLarge { len: 513, .. })));
    let most = sh("echo $#").args(vec!["x"; 510]);
    assert!(matches!(world.run(Program::new("")), Err(ProgramsError::Path { .. })));
    let told = world.told();
    assert_eq!(told.len(), 9, "each attempt is one record");
    assert!(told.iter().all(|(kind, _)| kind == "denial"));
    let shown: Vec<serde_json::Value> =
        records(&world.at_path("log")).into_iter().map(|record| record["denied"].clone()).collect();
    assert_eq!(shown[2], "the text `/bin/cat\\0x`");
    assert_eq!(shown[3], "the text `d:in\\0`");
    assert_eq!(world.says(most).trim(), "509");
    let outcome = runtime().block_on(world.programs.run(&world.tool, Program::new("../sh")));
    assert!(matches!(outcome, Err(ProgramsError::Path { .. })));
    assert_eq!(world.told().len(), 12, "two of the one that ran");
}
