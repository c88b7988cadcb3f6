//! Does on demand everything that a component must not do.

use std::time::Duration;

use airssys_wasm_component::{Component, Config, Failure, Message, Payload, component, sleep};

struct Crasher {
    /// How many messages this instance was given: a restarted one begins at zero.
    handled: u64,
}

#[component]
impl Component for Crasher {
    fn init(config: &Config) -> Result<Self, Failure> {
        match config.entry("init") {
            Some("fatal") => Err(Failure::fatal("told to fail at init")),
            Some("rejected") => Err(Failure::rejected("told to refuse at init")),
            Some("panic") => panic!("told to panic at init"),
            Some("loop") => spin(),
            _ => Ok(Self { handled: 0 }),
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        self.handled += 1;
        match message.payload.text() {
            Ok("panic") => panic!("told to panic"),
            Ok("trap") => trap(),
            Ok("loop") => spin(),
            Ok("grow") => grow(),
            Ok("recurse") => Ok(Some(Payload::raw(recurse(1).to_string()))),
            Ok("fatal") => Err(Failure::fatal("told to fail")),
            Ok("reject") => Err(Failure::rejected("told to refuse")),
            Ok("count") => Ok(Some(Payload::raw(self.handled.to_string()))),
            Ok("none") => Ok(None),
            Ok(text) if text.starts_with("sleep:") => {
                let milliseconds = text["sleep:".len()..].parse()?;
                sleep::sleep(Duration::from_millis(milliseconds));
                Ok(Some(message.payload))
            }
            Ok(text) if text.starts_with("naps:") => {
                let (times, milliseconds) = text["naps:".len()..].split_once(':').unwrap_or(("1", "1"));
                for _ in 0..times.parse()? {
                    sleep::sleep(Duration::from_millis(milliseconds.parse()?));
                }
                Ok(Some(message.payload))
            }
            Ok(_) | Err(_) => Ok(Some(message.payload)),
        }
    }
}

#[cfg(target_family = "wasm")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_family = "wasm"))]
fn trap() -> ! {
    std::process::abort()
}

#[inline(never)]
fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Takes memory a mebibyte at a time, and touches it, until there is none.
#[inline(never)]
fn grow() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// The frame is used after the call returns, so that no optimisation can make a loop of it.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    let below = if std::hint::black_box(true) { recurse(depth + 1) } else { 0 };
    below.wrapping_add(std::hint::black_box(frame)[(depth % 16) as usize])
}
