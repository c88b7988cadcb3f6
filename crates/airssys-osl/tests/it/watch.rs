//! What is told of changes: what happened, to those who may know, and no more than they may keep.

use std::fs;
use std::time::Duration;

use airssys_osl::{FileChange, FilesError, FsError, Policy, Watch, WatchEvent};

use crate::files::{World, failed};

/// For what is to come. What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn name(name: &str, change: FileChange) -> WatchEvent {
    WatchEvent::Name { name: name.to_owned(), change }
}

fn next(watch: &mut Watch) -> WatchEvent {
    watch.next(PATIENCE).unwrap().expect("something happened")
}

#[test]
fn what_happens_in_a_folder_is_told_in_order() {
    let world = World::new();
    let mut watch = world.files.watch(&world.tool, "d:out").unwrap();
    assert_eq!(watch.next(Duration::ZERO).unwrap(), None);
    let path = world.at("root/out/b");
    fs::write(&path, "").unwrap();
    fs::write(&path, "beta").unwrap();
    fs::rename(&path, world.at("root/out/c")).unwrap();
    fs::remove_file(world.at("root/out/c")).unwrap();
    fs::create_dir(world.at("root/out/folder")).unwrap();
    fs::write(world.at("root/out/folder/below"), "").unwrap();
    fs::write(world.at("root/out/last"), "").unwrap();
    for told in [
        name("b", FileChange::Appeared),
        name("b", FileChange::Changed),
        name("b", FileChange::Gone),
        name("c", FileChange::Appeared),
        name("c", FileChange::Gone),
        name("folder", FileChange::Appeared),
        name("last", FileChange::Appeared),
    ] {
        assert_eq!(next(&mut watch), told);
    }
    assert_eq!(watch.next(Duration::ZERO).unwrap(), None);
    drop(watch);
    assert_eq!(world.records().pop().unwrap()["outcome"], "done");
}

#[test]
fn a13_a_name_that_may_not_be_looked_at_is_not_told() {
    let world = World::new();
    world.denies(|world| world.files.watch(&world.tool, "d:in"));
    world.denies(|world| world.files.watch(&world.tool, "d:out/secret"));
    let mut watch = world.files.watch(&world.tool, "d:out").unwrap();
    fs::remove_dir(world.at("root/out/secret")).unwrap();
    fs::create_dir(world.at("root/out/secret")).unwrap();
    fs::write(world.at("root/out/.hidden"), "").unwrap();
    fs::write(world.at("root/out/b"), "").unwrap();
    assert_eq!(next(&mut watch), name("b", FileChange::Appeared));
}

#[test]
fn l12_a_watch_ends_when_it_is_no_longer_allowed() {
    let world = World::new();
    let mut watch = world.files.watch(&world.tool, "d:out").unwrap();
    fs::write(world.at("root/out/b"), "").unwrap();
    world.gate.replace_policy(Policy::empty());
    assert_eq!(next(&mut watch), WatchEvent::Ended);
    assert_eq!(next(&mut watch), WatchEvent::Ended, "and stays so");
}

#[test]
fn b2_a_watch_stays_with_the_folder_that_was_checked_and_ends_when_that_is_moved() {
    let world = World::new();
    fs::create_dir(world.at("root/out/way")).unwrap();
    std::os::unix::fs::symlink("../../outside", world.at("root/out/link")).unwrap();
    let error = failed(world.files.watch(&world.tool, "d:out/link"));
    assert!(matches!(error, FsError::NotAFile { kind: "link", .. }), "{error:?}");
    world.files.write(&world.tool, "d:out/b", b"").unwrap();
    assert!(world.files.watch(&world.tool, "d:out/b").is_err(), "a file is not watched");
    let mut watch = world.files.watch(&world.tool, "d:out/way").unwrap();
    fs::rename(world.at("root/out/way"), world.at("root/out/away")).unwrap();
    std::os::unix::fs::symlink("../../outside", world.at("root/out/way")).unwrap();
    fs::write(world.at("outside/new"), "").unwrap();
    assert_eq!(next(&mut watch), WatchEvent::Ended);
    let mut watch = world.files.watch(&world.tool, "d:out/away").unwrap();
    fs::remove_dir(world.at("root/out/away")).unwrap();
    assert_eq!(next(&mut watch), WatchEvent::Ended);
}

#[test]
fn g7_more_than_is_kept_is_said_to_be_missed_and_watches_are_counted() {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let kept: usize = text.trim().parse().unwrap();
    let mut world = World::new();
    world.files = world.files.with_open_max(2);
    let mut watch = world.files.watch(&world.tool, "d:out").unwrap();
    let other = world.files.watch(&world.tool, "d:out").unwrap();
    assert!(matches!(world.files.watch(&world.tool, "d:out"), Err(FilesError::TooManyOpen { limit: 2 })));
    drop(other);
    // Two names in turn, as the kernel makes one of two events that are alike.
    let (one, other) = (world.at("root/out/one"), world.at("root/out/other"));
    fs::write(&one, "").unwrap();
    for _ in 0..=kept / 4 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    let mut told = 0;
    while next(&mut watch) != WatchEvent::Missed {
        told += 1;
        assert!(told <= kept, "no more than the bound is kept");
    }
    fs::write(world.at("root/out/after"), "").unwrap();
    assert_eq!(next(&mut watch), name("after", FileChange::Appeared), "it goes on");
}

#[test]
fn a_task_waits_for_what_happens_without_keeping_a_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = World::new();
    let mut watch = world.files.watch(&world.tool, "d:out").unwrap();
    let path = world.at("root/out/b");
    runtime.block_on(async {
        let told = tokio::spawn(async move { watch.next_from_task().await });
        tokio::task::yield_now().await;
        fs::write(path, "").unwrap();
        let told = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap().unwrap();
        assert_eq!(told, name("b", FileChange::Appeared));
    });
}
