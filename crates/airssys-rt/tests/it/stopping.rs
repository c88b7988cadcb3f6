//! How a supervisor's stop meets a message in work, and what the actor knows of why.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{Actor, ChildSpec, Context, ExitReason, MailboxOptions, Strategy, SupervisorSpec, System};

/// Works a while on each message, and writes down how it is stopped.
struct Worker {
    finishes: bool,
    notes: Arc<Mutex<Vec<&'static str>>>,
}

enum Task {
    Slow,
    Fail,
}

impl Worker {
    fn note(&self, note: &'static str) {
        self.notes.lock().expect("no panic").push(note);
    }
}

impl Actor for Worker {
    type Message = Task;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.finish_message_on_stop(self.finishes);
        Ok(())
    }

    async fn handle(&mut self, task: Task, _: &mut Context<Self>) -> Result<(), ExitReason> {
        match task {
            Task::Slow => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.note("done");
                Ok(())
            }
            Task::Fail => Err(ExitReason::Killed),
        }
    }

    async fn stop(&mut self, _: &ExitReason, ctx: &mut Context<Self>) {
        self.note(if ctx.restart_follows() { "stopped to restart" } else { "stopped" });
    }
}

type Notes = Arc<Mutex<Vec<&'static str>>>;

fn worker(system: &System, id: &str, finishes: bool) -> (ChildSpec, airssys_rt::Address<Task>, Notes) {
    let notes = Notes::default();
    let made = notes.clone();
    let (child, address) = ChildSpec::worker(system, id.to_owned(), MailboxOptions::default(), move || {
        Worker { finishes, notes: made.clone() }
    });
    (child, address, notes)
}

async fn stopped_while_working(finishes: bool) -> Vec<&'static str> {
    let system = System::new();
    let (child, address, notes) = worker(&system, "a", finishes);
    system.supervise(SupervisorSpec::new("top").child(child)).await.expect("it starts");
    address.try_tell(Task::Slow).unwrap_or_else(|_| panic!("there is room"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(system.shutdown(Duration::from_secs(10)).await.is_clean());
    let notes = notes.lock().expect("no panic");
    notes.clone()
}

#[tokio::test(start_paused = true)]
async fn an_actor_can_ask_to_finish_its_message_before_a_stop() {
    assert_eq!(stopped_while_working(true).await, ["done", "stopped"]);
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_does_not_ask_is_interrupted_by_a_stop() {
    assert_eq!(stopped_while_working(false).await, ["stopped"]);
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_finishes_its_message_is_killed_when_its_time_to_stop_is_over() {
    let system = System::new();
    let (child, address, notes) = worker(&system, "a", true);
    let child = child.shutdown(airssys_rt::Shutdown::After(Duration::from_millis(500)));
    system.supervise(SupervisorSpec::new("top").child(child)).await.expect("it starts");
    address.try_tell(Task::Slow).unwrap_or_else(|_| panic!("there is room"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    system.shutdown(Duration::from_secs(10)).await;
    assert!(notes.lock().expect("no panic").is_empty(), "a kill waits for nothing");
}

#[tokio::test(start_paused = true)]
async fn an_actor_knows_whether_it_is_stopped_to_be_started_again() {
    let system = System::new();
    let (first, _, notes) = worker(&system, "first", false);
    let (second, failing, _) = worker(&system, "second", false);
    let spec = SupervisorSpec::new("top").strategy(Strategy::OneForAll).child(first).child(second);
    system.supervise(spec).await.expect("it starts");
    failing.try_tell(Task::Fail).unwrap_or_else(|_| panic!("there is room"));
    let restarted = async {
        while notes.lock().expect("no panic").is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), restarted).await.expect("its sibling takes it along");
    assert!(system.shutdown(Duration::from_secs(10)).await.is_clean());
    assert_eq!(*notes.lock().expect("no panic"), ["stopped to restart", "stopped"]);
}
