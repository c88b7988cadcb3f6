//! Files that stay open: what was opened for something does that and no more, and the log learns how it ended.

use std::fs;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};

use airssys_osl::{FilesError, FsError, Policy};

use crate::files::{World, failed, is_denied};

impl World {
    /// What the newest record says.
    fn last(&self) -> (String, String) {
        let record = self.records().pop().unwrap();
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("error"))
    }
}

#[test]
fn a_file_is_read_piece_by_piece_and_anywhere_up_to_its_bound() {
    let world = World::new();
    let mut reader = world.files.open_read(&world.tool, "d:in/a", 5).unwrap();
    let mut piece = [0; 3];
    reader.read_exact(&mut piece).unwrap();
    assert_eq!(&piece, b"alp");
    assert_eq!(reader.seek(SeekFrom::End(-2)).unwrap(), 3);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), reader.bytes_len().unwrap()), ("ha", 5));
    reader.rewind().unwrap();
    reader.read_exact(&mut piece).unwrap();
    assert!(reader.seek(SeekFrom::Current(-9)).is_err());
    assert_eq!(reader.finish().unwrap(), 8);
    assert_eq!(world.last(), ("done".into(), String::new()));
    assert!(matches!(
        world.fails(|world| world.files.open_read(&world.tool, "d:in/a", 4).map(drop)),
        FsError::TooLarge { limit: 4, .. }
    ));
}

#[test]
fn a_file_that_grows_over_the_bound_while_it_is_read_is_an_error() {
    let world = World::new();
    let mut reader = world.files.open_read(&world.tool, "d:in/a", 5).unwrap();
    fs::write(world.at("root/in/a"), "alphabet").unwrap();
    let mut text = String::new();
    assert_eq!(reader.read_to_string(&mut text).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert!(reader.read(&mut [0]).is_err(), "and stays one");
    assert!(matches!(reader.finish(), Err(FsError::TooLarge { limit: 5, .. })));
    assert_eq!(world.last().0, "failed");
}

#[test]
fn a_reader_that_is_dropped_says_whether_it_met_the_end() {
    let world = World::new();
    drop(world.files.open_read(&world.tool, "d:in/a", 16).unwrap());
    assert_eq!(world.last().0, "unknown");
    std::io::read_to_string(world.files.open_read(&world.tool, "d:in/a", 16).unwrap()).unwrap();
    assert_eq!(world.last().0, "done");
}

#[test]
fn what_replaces_a_file_is_there_when_it_is_finished_and_not_before() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    files.write(tool, "d:out/b", b"old").unwrap();
    let mut writer = files.open_replace(tool, "d:out/b", 8).unwrap();
    writer.write_all(b"new...").unwrap();
    writer.seek(SeekFrom::Start(3)).unwrap();
    writer.write_all(b"er").unwrap();
    writer.set_len(5).unwrap();
    writer.sync().unwrap();
    writer.flush().unwrap();
    assert_eq!(world.text("root/out/b"), "old");
    assert_eq!(writer.finish().unwrap(), 8, "bytes written");
    assert_eq!(world.text("root/out/b"), "newer");
    assert_eq!(world.last().0, "done");
}

#[test]
fn a_replacement_that_is_dropped_leaves_what_was_there_and_nothing_else() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    files.write(tool, "d:out/b", b"old").unwrap();
    let mut writer = files.open_replace(tool, "d:out/b", 8).unwrap();
    writer.write_all(b"new").unwrap();
    drop(writer);
    assert_eq!(world.text("root/out/b"), "old");
    let (outcome, error) = world.last();
    assert_eq!(outcome, "failed");
    assert!(error.contains("given up"), "{error}");
    let names: Vec<_> =
        fs::read_dir(world.at("root/out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary file remains: {names:?}");
}

#[test]
fn g20_a_write_past_the_bound_writes_nothing_and_the_replacement_is_not_put_there() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    files.write(tool, "d:out/b", b"old").unwrap();
    let mut writer = files.open_replace(tool, "d:out/b", 4).unwrap();
    writer.write_all(b"four").unwrap();
    assert_eq!(writer.write(b"5").unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert!(matches!(writer.finish(), Err(FsError::TooLarge { limit: 4, .. })));
    assert_eq!(world.text("root/out/b"), "old");
    assert_eq!(world.last().0, "failed");
    for past in [SeekFrom::Start(4), SeekFrom::Start(i64::MAX as u64)] {
        let mut writer = files.open_write(tool, "d:out/b", 4).unwrap();
        writer.seek(past).unwrap();
        assert!(writer.write(b"x").is_err());
        drop(writer);
    }
    let mut writer = files.open_write(tool, "d:out/b", 4).unwrap();
    writer.set_len(4).unwrap();
    assert!(writer.set_len(5).is_err());
    drop(writer);
    assert_eq!(world.text("root/out/b"), "old\0");
}

#[test]
fn a_file_is_changed_in_its_place_and_lengthened_behind_its_end() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    files.write(tool, "d:out/b", b"old").unwrap();
    let mut writer = files.open_write(tool, "d:out/b", 8).unwrap();
    writer.write_all(b"O").unwrap();
    assert_eq!(world.text("root/out/b"), "Old", "whoever reads sees it");
    drop(writer);
    assert_eq!(world.last().0, "unknown", "nobody said that this was all");
    let mut writer = files.open_append(tool, "d:out/b", 3).unwrap();
    writer.write_all(b"er").unwrap();
    assert_eq!(writer.seek(SeekFrom::Start(0)).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(writer.set_len(0).unwrap_err().kind(), ErrorKind::Unsupported);
    writer.write_all(b"!").unwrap();
    assert_eq!(writer.finish().unwrap(), 3);
    assert_eq!(world.text("root/out/b"), "Older!");
    let mut writer = files.open_append(tool, "d:out/b", 3).unwrap();
    assert!(writer.write(b"four").is_err());
    drop(writer);
    assert_eq!(world.text("root/out/b"), "Older!");
}

#[test]
fn what_is_planted_where_a_replacement_goes_is_not_replaced() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    let writer = files.open_replace(tool, "d:out/b", 8).unwrap();
    std::os::unix::fs::symlink("../../outside/o", world.at("root/out/b")).unwrap();
    assert!(matches!(writer.finish(), Err(FsError::NotAFile { kind: "link", .. })));
    fs::remove_file(world.at("root/out/b")).unwrap();
    let writer = files.open_replace(tool, "d:out/b", 8).unwrap();
    fs::create_dir(world.at("root/out/b")).unwrap();
    assert!(matches!(writer.finish(), Err(FsError::NotAFile { kind: "folder", .. })));
    assert_eq!(world.text("outside/o"), "outside");
}

#[test]
fn a_handle_is_good_for_what_it_was_opened_for_when_the_policy_changes_and_the_next_is_not() {
    let world = World::new();
    let mut writer = world.files.open_replace(&world.tool, "d:out/b", 8).unwrap();
    world.gate.replace_policy(Policy::empty());
    writer.write_all(b"kept").unwrap();
    writer.finish().unwrap();
    assert_eq!(world.text("root/out/b"), "kept");
    is_denied(world.files.open_replace(&world.tool, "d:out/b", 8));
}

#[test]
fn g7_a_subject_holds_open_what_it_may_and_one_more_is_an_error() {
    let mut world = World::prompt();
    world.files = world.files.with_open_max(3);
    let open = || world.files.open_read(&world.tool, "d:in/a", 16);
    let mut held = vec![open().unwrap(), open().unwrap()];
    let temporary = world.files.temporary(&world.tool, "d:out", 16).unwrap();
    assert!(matches!(open(), Err(FilesError::TooManyOpen { limit: 3 })));
    assert!(matches!(
        world.files.clone().open_replace(&world.tool, "d:out/b", 1),
        Err(FilesError::TooManyOpen { limit: 3 })
    ));
    drop(temporary);
    held.push(open().unwrap());
    assert!(open().is_err());
    drop(held);
    for _ in 0..1_000 {
        open().unwrap();
    }
    // One that does not open holds nothing.
    for _ in 0..4 {
        assert!(matches!(
            failed(world.files.open_read(&world.tool, "d:in/none", 1)),
            FsError::NotFound { .. }
        ));
    }
    open().unwrap();
}

#[test]
fn g13_a_temporary_file_has_no_name_and_a_bound_and_is_gone_when_it_is_dropped() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    let names = || fs::read_dir(world.at("root/out")).unwrap().count();
    let before = names();
    let mut temporary = files.temporary(tool, "d:out", 8).unwrap();
    temporary.write_all(b"12345678").unwrap();
    assert_eq!(temporary.write(b"9").unwrap_err().kind(), ErrorKind::FileTooLarge);
    temporary.rewind().unwrap();
    let mut text = String::new();
    temporary.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), names()), ("12345678", before));
    drop(temporary);
    assert_eq!(names(), before);
    world.denies(|world| world.files.temporary(&world.tool, "d:in", 8));
    world.denies(|world| world.files.temporary(&world.tool, "d:out/secret", 8));
}

#[test]
fn a_temporary_file_is_kept_where_that_is_allowed_and_replaces_what_is_there() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    files.write(tool, "d:out/b", b"old").unwrap();
    let make = || {
        let mut temporary = files.temporary(tool, "d:out", 8).unwrap();
        temporary.write_all(b"new").unwrap();
        temporary
    };
    files.keep(tool, make(), "d:out/b").unwrap();
    assert_eq!(world.text("root/out/b"), "new");
    assert_eq!(fs::read_dir(world.at("root/out")).unwrap().count(), 2);
    assert_eq!(files.read(tool, "d:out/b", 8).unwrap(), b"new", "it has one name");
    let made = make();
    world.denies(|world| world.files.keep(&world.tool, made, "d:in/b"));
    fs::hard_link(world.at("outside/o"), world.at("root/out/hard")).unwrap();
    assert!(matches!(failed(files.keep(tool, make(), "d:out/hard")), FsError::HardLinked { .. }));
    assert!(matches!(files.keep(tool, make(), "gone:b"), Err(FilesError::TwoRoots { .. })));
    assert_eq!(world.text("outside/o"), "outside");
}

#[test]
fn g8_work_that_waits_for_a_disk_takes_a_part_of_the_threads_and_no_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(80).build().unwrap();
    let world = World::prompt();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let waiting = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    runtime.block_on(async {
        let slow: Vec<_> = (0..200)
            .map(|_| {
                let (files, held, waiting) = (world.files.clone(), held.clone(), waiting.clone());
                tokio::spawn(async move {
                    let wait = move |_: &airssys_osl::Files| {
                        waiting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        assert!(held.lock().unwrap().recv().is_err());
                    };
                    files.from_task(wait).await;
                })
            })
            .collect();
        while waiting.load(std::sync::atomic::Ordering::Relaxed) < 64 {
            tokio::task::yield_now().await;
        }
        // The rest of the threads are free for others.
        assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
        assert_eq!(waiting.load(std::sync::atomic::Ordering::Relaxed), 64);
        drop(hold);
        for task in slow {
            task.await.unwrap();
        }
        let tool = world.tool.clone();
        let read = world.files.from_task(move |files| files.read(&tool, "d:in/a", 16)).await;
        assert_eq!(read.unwrap(), b"alpha");
    });
}
