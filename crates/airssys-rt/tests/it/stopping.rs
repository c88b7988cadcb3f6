//! How a supervisor's stop meets a message in work, and what the actor knows of why.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{
    Actor, ChildSpec, Context, DynamicSpec, ExitReason, MailboxOptions, Strategy, SupervisorSpec, System,
};

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

/// Counts those who stopped, and sees to it that a stage of the tree stops only after all of the one right of it.
#[derive(Default)]
struct Stages {
    /// Of the right dynamic supervisor, of the worker between the two, of the left one.
    stopped: [AtomicUsize; 3],
    out_of_order: AtomicUsize,
}

struct Staged {
    stages: Arc<Stages>,
    stage: usize,
    stage_before_len: usize,
}

impl Actor for Staged {
    type Message = ();

    async fn handle(&mut self, (): (), _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }

    async fn stop(&mut self, _reason: &ExitReason, _ctx: &mut Context<Self>) {
        let before =
            self.stage.checked_sub(1).map_or(0, |stage| self.stages.stopped[stage].load(Ordering::SeqCst));
        if before != self.stage_before_len {
            self.stages.out_of_order.fetch_add(1, Ordering::SeqCst);
        }
        self.stages.stopped[self.stage].fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_actors_stop_in_tree_order_in_bounded_time() {
    const HALF: usize = 50_000;
    let system = System::new();
    let stages = Arc::new(Stages::default());
    let staged = |stage, stage_before_len| {
        let stages = stages.clone();
        move || Staged { stages: stages.clone(), stage, stage_before_len }
    };
    let (left_spec, left) = ChildSpec::dynamic(&system, DynamicSpec::new("left"));
    let (middle_spec, _middle) =
        ChildSpec::worker(&system, "middle", MailboxOptions::default(), staged(1, HALF));
    let (right_spec, right) = ChildSpec::dynamic(&system, DynamicSpec::new("right"));
    let top = SupervisorSpec::new("top").child(left_spec).child(middle_spec).child(right_spec);
    system.supervise(top).await.unwrap();
    for n in 0..HALF {
        left.spawn(format!("left-{n}"), MailboxOptions::default(), staged(2, 1)).await.unwrap();
        right.spawn(format!("right-{n}"), MailboxOptions::default(), staged(0, 0)).await.unwrap();
    }
    let report = system.shutdown(Duration::from_secs(30)).await;
    assert!(report.is_clean(), "{} killed, {} stuck", report.killed.len(), report.stuck.len());
    let stopped = stages.stopped.each_ref().map(|count| count.load(Ordering::SeqCst));
    assert_eq!(stopped, [HALF, 1, HALF]);
    assert_eq!(stages.out_of_order.load(Ordering::SeqCst), 0);
    assert!(system.tree().is_empty());
}
