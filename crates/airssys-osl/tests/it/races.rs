//! Folders that somebody changes while they are used: nothing of the outside is ever seen, written or removed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use airssys_osl::audit::Durability;
use airssys_osl::{FilesError, FsError, Root, TreeBounds};
use rustix::fs::{CWD, RenameFlags};

use crate::files::{World, failed};

/// Swaps that are seen in each race.
const SWAPS: u64 = 150_000;
/// When a race is given up: it has failed then.
const PATIENCE: Duration = Duration::from_secs(120);

/// Swaps two names, `SWAPS` times and until `act` has been done twice as often as is needed to meet them, while it is done again
/// and again. How many swaps there were, and how often it was done.
fn race(one: &Path, other: &Path, mut act: impl FnMut()) -> (u64, u64) {
    let (is_over, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let begin = Instant::now();
    let mut acts = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let over = Over(&is_over);
        while swaps.load(Ordering::Relaxed) < SWAPS {
            assert!(begin.elapsed() < PATIENCE, "{swaps:?} swaps");
            act();
            acts += 1;
        }
        drop(over);
    });
    (swaps.into_inner(), acts)
}

/// Ends the other thread also when this one fails.
struct Over<'f>(&'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn b1_a_file_that_is_swapped_for_a_link_shows_nothing_of_the_outside() {
    let world = World::prompt();
    let (files, tool) = (&world.files, &world.tool);
    fs::write(world.at("root/out/b"), "beta").unwrap();
    let link = world.at("root/swapped");
    symlink("../../outside/o", &link).unwrap();
    let (mut read, mut refused) = (0, 0);
    let mut round = 0;
    let (swaps, acts) = race(&world.at("root/out/b"), &link, || {
        round += 1;
        let outcome = match round % 4 {
            0 => files.append(tool, "d:out/b", b"!").map(|()| "beta".to_owned()),
            1 => files
                .open_read(tool, "d:out/b", 1 << 30)
                .map(|reader| std::io::read_to_string(reader).expect("it was opened")),
            _ => files.read(tool, "d:out/b", 1 << 30).map(|bytes| String::from_utf8(bytes).unwrap()),
        };
        match outcome {
            Ok(text) => {
                assert!(text.starts_with("beta"), "escaped: {text}");
                read += 1;
            }
            Err(FilesError::Failed(FsError::NotAFile { kind: "link", .. })) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    });
    assert!(
        swaps >= SWAPS && read > 0 && refused > 0,
        "{swaps} swaps, {acts} uses, {read} read, {refused} refused"
    );
    assert_eq!(world.text("outside/o"), "outside");
}

#[test]
fn b1_what_is_written_over_a_name_that_is_swapped_stays_inside() {
    let world = World::prompt();
    let (files, tool) = (&world.files, &world.tool);
    fs::write(world.at("root/out/b"), "beta").unwrap();
    let link = world.at("root/swapped");
    symlink("../../outside/o", &link).unwrap();
    let mut written = 0;
    race(&world.at("root/out/b"), &link, || {
        if files.write(tool, "d:out/b", b"beta").is_ok() {
            written += 1;
        }
        // What is written takes the place of a link that was swapped in after the last look: one of each is put back.
        let links = [&link, &world.at("root/out/b")].into_iter().filter(|path| path.is_symlink()).count();
        let fresh = world.at("root/fresh");
        match links {
            0 => symlink("../../outside/o", &fresh).unwrap(),
            2 => fs::write(&fresh, "beta").unwrap(),
            _ => return,
        }
        fs::rename(&fresh, &link).unwrap();
    });
    assert!(written > 0);
    assert_eq!(world.text("outside/o"), "outside");
    assert_eq!(fs::read_dir(world.at("outside")).unwrap().count(), 1);
}

#[test]
fn b2_a_folder_on_the_way_that_is_swapped_for_a_link_leads_nowhere() {
    let world = World::prompt();
    let (files, tool) = (&world.files, &world.tool);
    fs::create_dir_all(world.at("root/out/way/deep")).unwrap();
    fs::create_dir_all(world.at("outside/deep")).unwrap();
    fs::write(world.at("root/out/way/deep/f"), "inside").unwrap();
    fs::write(world.at("outside/deep/f"), "outside").unwrap();
    let link = world.at("root/swapped");
    symlink("../../outside", &link).unwrap();
    let (mut read, mut refused, mut round) = (0, 0, 0);
    let (swaps, _) = race(&world.at("root/out/way"), &link, || {
        round += 1;
        let outcome = match round % 4 {
            0 => files.append(tool, "d:out/way/deep/f", b"").map(|()| b"inside".to_vec()),
            1 => files.list(tool, "d:out/way", 10).map(|names| {
                assert_eq!(names.len(), 1, "{names:?}");
                b"inside".to_vec()
            }),
            _ => files.read(tool, "d:out/way/deep/f", 64),
        };
        match outcome {
            Ok(bytes) => {
                assert_eq!(bytes, b"inside", "escaped");
                read += 1;
            }
            Err(FilesError::Failed(FsError::NotAFile { kind: "link", .. })) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    });
    assert!(swaps >= SWAPS && read > 0 && refused > 0, "{swaps} swaps, {read} read, {refused} refused");
    assert_eq!(world.text("outside/deep/f"), "outside");
}

#[test]
fn b3_a_root_that_is_renamed_stays_the_folder_that_was_opened() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    let mut writer = files.open_replace(tool, "d:out/late", 16).unwrap();
    fs::rename(world.at("root"), world.at("moved")).unwrap();
    // What has its name now is another.
    fs::create_dir_all(world.at("root/in")).unwrap();
    fs::create_dir_all(world.at("root/out")).unwrap();
    fs::write(world.at("root/in/a"), "planted").unwrap();
    assert_eq!(world.read("d:in/a").unwrap(), "alpha");
    files.write(tool, "d:out/b", b"beta").unwrap();
    std::io::Write::write_all(&mut writer, b"late").unwrap();
    writer.finish().unwrap();
    assert_eq!((world.text("moved/out/b"), world.text("moved/out/late")), ("beta".into(), "late".into()));
    assert_eq!(fs::read_dir(world.at("root/out")).unwrap().count(), 0);
    fs::create_dir(world.at("moved/out/tree")).unwrap();
    fs::create_dir(world.at("root/out/tree")).unwrap();
    files.remove_tree(tool, "d:out/tree", TreeBounds::default()).unwrap();
    assert!(world.at("root/out/tree").exists() && !world.at("moved/out/tree").exists());
}

#[test]
fn b3_a_root_that_is_renamed_again_and_again_is_always_itself() {
    let world = World::prompt();
    fs::create_dir_all(world.at("decoy/in")).unwrap();
    fs::write(world.at("decoy/in/a"), "decoy").unwrap();
    let mut read = 0;
    race(&world.at("root"), &world.at("decoy"), || {
        assert_eq!(world.read("d:in/a").unwrap(), "alpha");
        read += 1;
    });
    assert!(read > 0);
}

#[test]
fn b4_what_stays_unsteady_is_an_error_after_a_bounded_while_and_nothing_else_is_tried() {
    let world = World::new();
    let tried = without_openat2(libc::EAGAIN, || {
        let begin = Instant::now();
        let error = world.fails(|world| world.read("d:in/a"));
        assert!(begin.elapsed() < PATIENCE);
        error
    });
    match tried {
        FsError::Io { source, .. } => assert_eq!(source.kind(), ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.read("d:in/a").unwrap(), "alpha", "the next thread fares better");
}

#[test]
fn b7_nothing_that_was_planted_under_a_temporary_name_is_written_to() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    fs::set_permissions(world.at("root/out"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    // The names that a number of the process would lead to.
    for number in 0..64 {
        let name = format!("root/out/.tmp-{}-{number}", std::process::id());
        symlink("../../outside/o", world.at(&name)).unwrap();
    }
    let mut seen = std::collections::HashSet::new();
    for round in 0..16 {
        let writer = files.open_replace(tool, "d:out/b", 16).unwrap();
        for entry in fs::read_dir(world.at("root/out")).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with(".tmp-") && entry.file_type().unwrap().is_file() {
                assert_eq!(name.len(), ".tmp-".len() + 16, "{name}");
                assert!(seen.insert(name), "a name comes once");
                let mode = std::os::unix::fs::PermissionsExt::mode(&entry.metadata().unwrap().permissions());
                assert_eq!(mode & 0o077, 0);
            }
        }
        assert_eq!(seen.len(), round + 1);
        drop(writer);
    }
    // A link planted at the name itself is not followed.
    symlink("../../outside/o", world.at("root/out/c")).unwrap();
    assert!(matches!(failed(files.write(tool, "d:out/c", b"x")), FsError::NotAFile { kind: "link", .. }));
    assert_eq!(world.text("outside/o"), "outside");
}

/// Runs on a thread with mounts of its own, and says so if the machine does not allow it.
#[allow(clippy::print_stdout, reason = "whoever reads what the tests say should know what they did not do")]
pub(crate) fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| match own_mounts() {
            Ok(()) => Some(work()),
            Err(error) => {
                println!("NOT TESTED HERE: nothing can be mounted on this machine: {error}");
                None
            }
        });
        ran.join().unwrap()
    })
}

#[test]
fn b8_what_is_mounted_below_a_root_is_no_part_of_it_unless_that_was_said() {
    let tested = with_own_mounts(|| {
        let world = World::new();
        let loose = World::with(Durability::Strict, Root::with_mounts);
        for world in [&world, &loose] {
            for place in ["root/out/mounted", "outside/far"] {
                fs::create_dir(world.at(place)).unwrap();
            }
            fs::write(world.at("outside/far/f"), "far").unwrap();
            rustix::mount::mount_bind(world.at("outside/far"), world.at("root/out/mounted")).unwrap();
            fs::write(world.at("root/out/file"), "near").unwrap();
            rustix::mount::mount_bind(world.at("outside/o"), world.at("root/out/file")).unwrap();
        }
        let (files, tool) = (&world.files, &world.tool);
        for work in [
            files.read(tool, "d:out/mounted/f", 64).map(drop),
            files.read(tool, "d:out/file", 64).map(drop),
            files.write(tool, "d:out/mounted/f", b"x"),
            files.write(tool, "d:out/file", b"x"),
            files.append(tool, "d:out/mounted/f", b"x"),
            files.append(tool, "d:out/file", b"x"),
            files.stat(tool, "d:out/mounted").map(drop),
            files.stat(tool, "d:out/mounted/f").map(drop),
            files.list(tool, "d:out/mounted", 10).map(drop),
            files.create_folder(tool, "d:out/mounted/new"),
            files.remove(tool, "d:out/mounted/f"),
            files.rename(tool, "d:out/mounted/f", "d:out/g"),
            files.open_read(tool, "d:out/file", 64).map(drop),
            files.open_write(tool, "d:out/file", 64).map(drop),
            files.remove_tree(tool, "d:out/mounted", TreeBounds::default()).map(drop),
            files.temporary(tool, "d:out/mounted", 64).map(drop),
        ] {
            assert!(matches!(failed(work), FsError::Mounted { .. }));
        }
        for errno in [libc::ENOSYS, libc::EPERM] {
            let (one, other) = without_openat2(errno, || {
                (failed(files.read(tool, "d:out/mounted/f", 64)), failed(files.read(tool, "d:out/file", 64)))
            });
            assert!(matches!(one, FsError::Mounted { .. }), "step by step: {one:?}");
            assert!(matches!(other, FsError::Mounted { .. }), "step by step: {other:?}");
        }
        // A tree with a mount in it is kept whole.
        fs::create_dir_all(world.at("root/out/tree/deep")).unwrap();
        fs::write(world.at("root/out/tree/a"), "kept").unwrap();
        rustix::mount::mount_bind(world.at("outside/far"), world.at("root/out/tree/deep")).unwrap();
        let removed = files.remove_tree(tool, "d:out/tree", TreeBounds::default());
        assert!(matches!(failed(removed), FsError::Mounted { .. }));
        assert_eq!(
            (world.text("root/out/tree/a"), world.text("outside/far/f")),
            ("kept".into(), "far".into())
        );
        assert_eq!(loose.read("d:out/mounted/f").unwrap(), "far");
        assert_eq!(loose.read("d:out/file").unwrap(), "outside");
        // Made writable again by whoever may mount, it is no more reachable than before.
        rustix::mount::mount_remount(
            world.at("root/out/mounted"),
            rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY,
            c"",
        )
        .unwrap();
        assert!(matches!(failed(files.write(tool, "d:out/mounted/f", b"x")), FsError::Mounted { .. }));
    });
    // What needs no right to mount: the system has something mounted below its top.
    if tested.is_none() {
        let folder = tempfile::tempdir().unwrap();
        let policy = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"top:**\"]";
        let gate = crate::audit::gate_by(policy, &folder.path().join("log"), Default::default());
        let top = Root::open(Path::new("/")).unwrap();
        let files = airssys_osl::Files::new(gate, [(airssys_osl::Name::parse("top").unwrap(), top)]);
        let tool = airssys_osl::Subject::parse("tool").unwrap();
        assert!(matches!(failed(files.read(&tool, "top:proc/version", 4096)), FsError::Mounted { .. }));
    }
}

/// What an operation says, without what differs from machine to machine.
fn said<T: std::fmt::Debug>(outcome: Result<T, FilesError>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(FilesError::Failed(FsError::Io { source, .. })) => format!("{:?}", source.kind()),
        Err(FilesError::Failed(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn b9_without_openat2_everything_comes_out_the_same() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    symlink("../../outside", world.at("root/in/out")).unwrap();
    symlink("secret", world.at("root/in/in")).unwrap();
    symlink(world.at("root/in/a"), world.at("root/in/absolute")).unwrap();
    symlink("loop", world.at("root/in/loop")).unwrap();
    let paths = [
        "d:in",
        "d:in/a",
        "d:in/a/x",
        "d:in/out",
        "d:in/out/o",
        "d:in/in/key",
        "d:in/absolute",
        "d:in/loop",
        "d:in/loop/x",
        "d:in/none",
        "d:in/none/x",
        "d:in/secret/key",
        "d:other",
        "d:.",
    ];
    let all = || {
        let mut outcomes = Vec::new();
        for path in paths {
            outcomes.push((path, "read", said(files.read(tool, path, 64))));
            outcomes.push((path, "list", said(files.list(tool, path, 64))));
            outcomes.push((path, "stat", said(files.stat(tool, path).map(|about| (about.kind, about.len)))));
        }
        files.write(tool, "d:out/b", b"beta").unwrap();
        files.append(tool, "d:out/b", b"!").unwrap();
        outcomes.push(("d:out/b", "read", said(files.read(tool, "d:out/b", 64))));
        files.create_folder(tool, "d:out/t").unwrap();
        files.write(tool, "d:out/t/f", b"").unwrap();
        outcomes.push(("d:out/t", "tree", said(files.remove_tree(tool, "d:out/t", TreeBounds::default()))));
        outcomes
    };
    let best = all();
    for errno in [libc::ENOSYS, libc::EPERM] {
        assert_eq!(without_openat2(errno, all), best, "errno {errno}");
    }
    assert_eq!(world.text("outside/o"), "outside");
}

#[test]
fn b9_without_openat2_a_swapped_folder_leads_nowhere_either() {
    let world = World::prompt();
    fs::create_dir(world.at("root/in/way")).unwrap();
    fs::write(world.at("root/in/way/o"), "inside").unwrap();
    let link = world.at("root/swapped");
    symlink("../../outside", &link).unwrap();
    let mut read = 0;
    without_openat2(libc::ENOSYS, || {
        race(&world.at("root/in/way"), &link, || {
            if let Ok(text) = world.read("d:in/way/o") {
                assert_eq!(text, "inside", "escaped");
                read += 1;
            }
        });
    });
    assert!(read > 0);
}

/// A path is text that is borrowed while it is read, and what is read is a copy: nothing that the asker writes later, on
/// whatever thread, is looked at by the decision, the record or the effect.
#[test]
fn b10_a_path_that_changes_after_it_was_read_changes_nothing() {
    let world = World::new();
    fs::create_dir_all(world.at("root/out/secret")).unwrap();
    let mut text = String::from("d:out/late1");
    let mut writer = world.files.open_replace(&world.tool, &text, 16).unwrap();
    text.replace_range(.., "d:out/secret/x");
    std::io::Write::write_all(&mut writer, b"late").unwrap();
    writer.finish().unwrap();
    assert_eq!(world.text("root/out/late1"), "late");
    assert_eq!(fs::read_dir(world.at("root/out/secret")).unwrap().count(), 0);
    assert_eq!(
        world.records()[0]["accesses"],
        serde_json::json!(["create d:out/late1", "write d:out/late1"])
    );
    world.denies(|world| world.files.open_replace(&world.tool, &text, 16));
}

#[path = "races/kernel.rs"]
mod kernel;
use kernel::{own_mounts, without_openat2};
