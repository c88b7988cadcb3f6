//! A door with a code lock, the example of OTP's gen_statem: `cargo run -p airssys-rt --example statemachine`.
//!
//! A state is an enum, an event a message, a state timeout a timer.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use airssys_rt::{Actor, Context, ExitReason, MailboxOptions, ReplyTo, System, TimerRef};
enum State {
    Locked { typed: String },
    Open { closes: TimerRef },
}
enum Event {
    Button(char),
    Close,
    IsOpen(ReplyTo<bool>),
}
struct Door {
    code: &'static str,
    state: State,
}

impl Actor for Door {
    type Message = Event;

    async fn handle(&mut self, event: Event, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        match (&mut self.state, event) {
            (State::Locked { typed }, Event::Button(button)) => {
                typed.push(button);
                if typed.ends_with(self.code) {
                    let closes = ctx.send_after(Duration::from_millis(100), Event::Close);
                    self.state = State::Open { closes };
                }
            }
            (State::Open { closes }, Event::Button(_)) => {
                // Whoever still presses buttons gets more time.
                ctx.cancel(*closes);
                *closes = ctx.send_after(Duration::from_millis(100), Event::Close);
            }
            (_, Event::Close) => self.state = State::Locked { typed: String::new() },
            (state, Event::IsOpen(reply)) => {
                reply.send(matches!(state, State::Open { .. })).ok();
            }
        }
        Ok(())
    }
}
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = System::new();
    let state = State::Locked { typed: String::new() };
    let door = system.spawn("door", MailboxOptions::default(), || Door { code: "42", state }).await?;
    for button in "1042".chars() {
        door.tell(Event::Button(button)).await?;
        let is_open = door.ask(Duration::from_secs(1), Event::IsOpen).await?;
        println!("after {button}: {}", if is_open { "open" } else { "locked" });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!door.ask(Duration::from_secs(1), Event::IsOpen).await?, "it closed by itself");
    system.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
