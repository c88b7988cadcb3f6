//! A worker that crashes is replaced, and its queue waits for the new one: `cargo run -p airssys-rt --example supervise`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use airssys_rt::{ChildSpec, Event, MailboxOptions, SupervisorSpec, System, actor};

struct Divider {
    done: u32,
}

#[actor]
impl Divider {
    /// Divides; by zero it crashes, as code does.
    #[ask]
    fn divide(&mut self, by: u32) -> u32 {
        self.done += 1;
        1_000 / by
    }

    /// Divisions of this incarnation.
    #[ask]
    fn done(&self) -> u32 {
        self.done
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = System::new();
    let mut events = system.events();
    let (child, divider) =
        ChildSpec::worker(&system, "divider", MailboxOptions::default(), || Divider { done: 0 });
    system.supervise(SupervisorSpec::new("top").intensity(5, Duration::from_secs(1)).child(child)).await?;

    let within = Duration::from_secs(1);
    for by in [4, 0, 5] {
        match divider.divide(within, by).await {
            Ok(answer) => println!("1000 / {by} = {answer}"),
            Err(error) => println!("1000 / {by}: {error}"),
        }
    }
    println!("the new divider has divided {:?} times", divider.done(within).await);
    while let Some(event) = events.try_next() {
        if let Ok(Event::Restarted { name, reason, took, .. }) = event {
            println!("{name} was restarted in {took:?} after {reason}");
        }
    }
    system.shutdown(within).await;
    Ok(())
}
