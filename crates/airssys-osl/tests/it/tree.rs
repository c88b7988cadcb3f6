//! Trees are removed whole or kept whole, and never leave their root.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use airssys_osl::{FilesError, FsError, Root, TreeBounds};
use rustix::fs::{CWD, RenameFlags};

use crate::files::{World, failed};

const BOUNDS: TreeBounds = TreeBounds { entries_max: 100, depth_max: 8 };

#[test]
fn a_tree_is_removed_with_the_links_in_it_and_not_what_they_lead_to() {
    let world = World::new();
    fs::create_dir_all(world.at("root/out/tree/a/b")).unwrap();
    fs::write(world.at("root/out/tree/a/f"), "").unwrap();
    symlink("../../../outside", world.at("root/out/tree/a/out")).unwrap();
    symlink("/nowhere", world.at("root/out/tree/dangling")).unwrap();
    assert_eq!(world.files.remove_tree(&world.tool, "d:out/tree", BOUNDS).unwrap(), 6);
    assert!(!world.at("root/out/tree").exists());
    assert_eq!(world.text("outside/o"), "outside");
    symlink("secret", world.at("root/out/link")).unwrap();
    let error = failed(world.files.remove_tree(&world.tool, "d:out/link", BOUNDS));
    assert!(matches!(error, FsError::NotAFile { kind: "link", .. }), "{error:?}");
    assert!(failed(world.files.remove_tree(&world.tool, "d:out/none", BOUNDS)).to_string().contains("none"));
}

#[test]
fn a14_a_tree_with_something_in_it_that_is_denied_is_kept_whole() {
    let world = World::new();
    fs::write(world.at("root/out/b"), "beta").unwrap();
    fs::create_dir(world.at("root/out/secret/deep")).unwrap();
    let before = world.records().len();
    let kept = world.files.remove_tree(&world.tool, "d:out", BOUNDS);
    match kept {
        Err(FilesError::DeniedBelow { path }) => assert_eq!(path.to_string(), "d:out"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.text("root/out/b"), "beta");
    assert!(world.at("root/out/secret/deep").exists());
    let records = world.records().split_off(before);
    let denials: Vec<_> = records.iter().filter(|record| record["kind"] == "denial").collect();
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0]["accesses"], serde_json::json!(["remove d:out/secret"]));
    let rule = denials[0]["rule"].as_str().unwrap();
    assert!(rule.starts_with("deny files ") && rule.contains("d:out/secret/**"), "{rule}");
    assert_eq!(records.last().unwrap()["outcome"], "failed");
    // What begins with a dot is not covered by `**`, so it is denied as well.
    fs::create_dir(world.at("root/out/tree")).unwrap();
    fs::write(world.at("root/out/tree/.hidden"), "kept").unwrap();
    let kept = world.files.remove_tree(&world.tool, "d:out/tree", BOUNDS);
    assert!(matches!(kept, Err(FilesError::DeniedBelow { .. })));
    assert_eq!(world.text("root/out/tree/.hidden"), "kept");
    world.denies(|world| world.files.remove_tree(&world.tool, "d:.", BOUNDS));
}

#[test]
fn a_tree_at_its_bounds_is_removed_and_one_past_them_is_kept() {
    let world = World::new();
    let make = || {
        fs::create_dir_all(world.at("root/out/tree/a/b")).unwrap();
        fs::write(world.at("root/out/tree/f"), "").unwrap();
    };
    make();
    let remove = |entries_max, depth_max| {
        world.files.remove_tree(&world.tool, "d:out/tree", TreeBounds { entries_max, depth_max })
    };
    assert!(matches!(failed(remove(3, 3)), FsError::TooMany { limit: 3, .. }));
    assert!(matches!(failed(remove(4, 2)), FsError::TooDeep { limit: 2, .. }));
    assert!(world.at("root/out/tree/a/b").exists() && world.at("root/out/tree/f").exists());
    assert_eq!(remove(4, 3).unwrap(), 4);
    assert!(!world.at("root/out/tree").exists());
}

#[test]
fn what_is_no_text_keeps_the_tree_and_the_root_itself_stays() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    fs::create_dir(world.at("root/out/tree")).unwrap();
    let odd = world.at("root/out/tree").join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::write(&odd, "").unwrap();
    let error = failed(world.files.remove_tree(&world.tool, "d:out/tree", BOUNDS));
    assert!(matches!(error, FsError::NotUtf8 { valid_bytes: 0, .. }), "{error:?}");
    assert!(odd.exists());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("root")).unwrap();
    fs::write(folder.path().join("root/f"), "kept").unwrap();
    let policy = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:**\"]";
    let gate = crate::audit::gate_by(policy, &folder.path().join("log"), Default::default());
    let root = Root::open(&folder.path().join("root")).unwrap();
    let files = airssys_osl::Files::new(gate, [(airssys_osl::Name::parse("d").unwrap(), root)]);
    assert!(files.remove_tree(&world.tool, "d:.", BOUNDS).is_err());
    assert_eq!(fs::read_to_string(folder.path().join("root/f")).unwrap(), "kept");
}

/// A tree is removed while somebody puts links to the outside in the place of its folders and files.
#[test]
fn b6_no_link_that_is_put_into_a_tree_while_it_is_removed_leads_out_of_it() {
    /// Trees removed, and removals that met a link, before it is enough.
    const ENOUGH: u32 = 20;
    let world = World::prompt();
    let outside = world.at("outside");
    for number in 0..8 {
        fs::create_dir_all(outside.join(format!("deep{number}"))).unwrap();
        fs::write(outside.join(format!("deep{number}/f")), "outside").unwrap();
    }
    let link = world.at("root/swapped");
    symlink("../../outside", &link).unwrap();
    let (is_over, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut whole, mut stopped) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let way = world.at("root/out/tree/way");
            while !is_over.load(Ordering::Relaxed) {
                // Half of the time the folder is the link to the outside.
                if rustix::fs::renameat_with(CWD, &way, CWD, &link, RenameFlags::EXCHANGE).is_ok() {
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
                drop(symlink("../../../outside", world.at("root/out/tree/planted")));
            }
        });
        let begin = Instant::now();
        while whole < ENOUGH || stopped < ENOUGH || swaps.load(Ordering::Relaxed) < 1_000 {
            assert!(
                begin.elapsed() < Duration::from_secs(120),
                "{whole} removed, {stopped} stopped, {swaps:?} swaps"
            );
            for number in 0..8 {
                drop(fs::create_dir_all(world.at(&format!("root/out/tree/way/deep{number}"))));
                let path = world.at(&format!("root/out/tree/way/deep{number}/f"));
                // Written by whoever prepares the test, which follows the link like anybody else: only what is missing.
                if !path.exists() {
                    drop(fs::write(path, "outside"));
                }
            }
            match world.files.remove_tree(&world.tool, "d:out/tree", BOUNDS) {
                Ok(_) => whole += 1,
                Err(FilesError::Failed(_)) => stopped += 1,
                Err(error) => panic!("{error:?}"),
            }
            for number in 0..8 {
                let path = outside.join(format!("deep{number}/f"));
                assert_eq!(fs::read_to_string(path).expect("it is outside"), "outside");
            }
            if !link.is_symlink() {
                drop(fs::remove_dir_all(&link));
                drop(symlink("../../outside", &link));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(world.text("outside/o"), "outside");
}
