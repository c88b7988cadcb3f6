//! What a person sees: standard error is a terminal.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{Home, INPUT, PATIENT};

/// Runs the command with a terminal as output. Returns the exit code and what the terminal got.
fn on_a_terminal(home: &Home, args: &[&str]) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let side = std::ffi::OsStr::from_bytes(name.as_bytes());
    let side = OpenOptions::new().read(true).write(true).open(side).unwrap();
    let mut screen = File::from(terminal);
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut part = [0; 4096];
        // The end of the last process on the other side is an error here.
        while let Ok(len @ 1..) = screen.read(&mut part) {
            seen.extend_from_slice(&part[..len]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    let mut command = home.command(args);
    command.stdin(Stdio::null()).stdout(side.try_clone().unwrap()).stderr(side);
    let mut child = command.spawn().unwrap();
    // It holds the other side as well.
    drop(command);
    let status = child.wait().unwrap();
    (status.code(), reader.join().unwrap())
}

#[test]
fn a_terminal_shows_the_tree_progress_and_restarts() {
    let home = Home::new();
    let app = home.guests(PATIENT, INPUT);
    home.write("lines.log", "one\npanic\nsleep:500\ntwo\n");
    let (code, screen) = on_a_terminal(&home, &["up", app, "--input", "lines.log"]);
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("└─ app/crasher#0 (worker) running"), "{screen}");
    assert!(screen.contains("restart: app/crasher#0"), "{screen}");
    assert!(screen.contains("1 rejected, "), "no progress: {screen}");
    assert!(screen.contains("accepted 3, rejected 1 (1 crashed)"), "{screen}");
}

#[test]
fn a_guest_cannot_steer_the_terminal_and_a_pipe_gets_its_bytes() {
    let title = "\u{1b}]0;owned\u{7}";
    let home = Home::new();
    let _up = home.up(&[home.guests("", "")]);
    let (code, screen) = on_a_terminal(&home, &["call", "echo", title]);
    assert_eq!((code, screen.trim_end()), (Some(0), "\\u{1b}]0;owned\\u{7}"));
    assert_eq!(home.run(&["call", "echo", title]).stdout, format!("{title}\n"));
}
