//! Health checks: who is found unhealthy, how it is ended, and for how long it is watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airssys_rt::{
    Actor, Address, ChildSpec, Context, DynamicSpec, Event, ExitReason, HealthCheck, MailboxOptions, ReplyTo,
    Restart, Shutdown, SupervisorSpec, System, Unhealthy,
};
use tokio::time::Instant;

use crate::probe::{SOON, until};

const SECOND: Duration = Duration::from_secs(1);

enum Ask {
    Ping(ReplyTo<()>),
    /// The next so many pings are answered late.
    BeLate(u32),
    Hang,
    Block(std::sync::mpsc::Receiver<()>),
}

struct Patient {
    pings: Arc<AtomicU32>,
    late: u32,
    stop_takes: Duration,
    traps: bool,
}

impl Actor for Patient {
    type Message = Ask;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.trap_exits(self.traps);
        Ok(())
    }

    async fn handle(&mut self, ask: Ask, _: &mut Context<Self>) -> Result<(), ExitReason> {
        match ask {
            Ask::Ping(reply) => {
                self.pings.fetch_add(1, Ordering::Relaxed);
                if self.late > 0 {
                    self.late -= 1;
                    tokio::time::sleep(SECOND * 3).await;
                }
                // Who asked may have given up.
                reply.send(()).unwrap_or_default();
            }
            Ask::BeLate(times) => self.late = times,
            Ask::Hang => std::future::pending().await,
            Ask::Block(until) => drop(until.recv()),
        }
        Ok(())
    }

    async fn stop(&mut self, _: &ExitReason, _: &mut Context<Self>) {
        tokio::time::sleep(self.stop_takes).await;
    }
}

/// Asked every 10 s, with 2 s to answer; the third failure in a row is one too many.
fn check(address: &Address<Ask>) -> HealthCheck {
    HealthCheck::new(address, Ask::Ping).interval(SECOND * 10).timeout(SECOND * 2).failures_max(2)
}

struct Ward {
    system: System,
    patient: Address<Ask>,
    pings: Arc<AtomicU32>,
    admitted: Instant,
}

fn patient(system: &System, traps: bool, stop_takes: Duration) -> (ChildSpec, Address<Ask>, Arc<AtomicU32>) {
    let pings = Arc::new(AtomicU32::new(0));
    let counted = pings.clone();
    let (spec, address) = ChildSpec::worker(system, "patient", MailboxOptions::default(), move || Patient {
        pings: counted.clone(),
        late: 0,
        stop_takes,
        traps,
    });
    let spec = spec.health(check(&address)).shutdown(Shutdown::After(SECOND * 5));
    (spec, address, pings)
}

async fn ward(traps: bool, stop_takes: Duration) -> Ward {
    let system = System::new();
    let (spec, patient, pings) = patient(&system, traps, stop_takes);
    system.supervise(SupervisorSpec::new("ward").intensity(10, SECOND).child(spec)).await.unwrap();
    Ward { system, patient, pings, admitted: Instant::now() }
}

impl Ward {
    /// How the first incarnation ended, and after how many seconds.
    async fn end(&self) -> (ExitReason, u64) {
        let mut events = self.system.events();
        tokio::time::timeout(SECOND * 120, async {
            loop {
                if let Some(Ok(Event::Exited { reason, .. })) = events.next().await {
                    return (reason, self.admitted.elapsed().as_secs());
                }
            }
        })
        .await
        .expect("an end")
    }
}

fn failures(reason: &ExitReason) -> Option<u32> {
    let ExitReason::Error(error) = reason else { return None };
    error.downcast_ref::<Unhealthy>().map(|unhealthy| unhealthy.failures)
}

#[tokio::test(start_paused = true)]
async fn a_child_that_answers_is_asked_and_left_alone() {
    let ward = ward(false, Duration::ZERO).await;
    tokio::time::sleep(SECOND * 101).await;
    assert_eq!(ward.pings.load(Ordering::Relaxed), 10);
    assert_eq!(ward.system.tree()[0].children[0].restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_answer_too_often_in_a_row_ends_unhealthy_and_is_restarted() {
    for traps in [false, true] {
        let ward = ward(traps, Duration::ZERO).await;
        ward.patient.tell(Ask::Hang).await.unwrap();
        let (reason, after_s) = ward.end().await;
        assert_eq!(failures(&reason), Some(3));
        assert_eq!(after_s, 3 * (10 + 2));
        until(|| ward.system.tree()[0].children[0].restarts == 1).await;
        let history = &ward.system.tree()[0].children[0].history;
        assert_eq!(failures(&history[0].reason), Some(3));
        tokio::time::sleep(SECOND * 11).await;
        assert!(ward.pings.load(Ordering::Relaxed) >= 1, "the next one is asked as well");
        ward.patient.ask(SOON, Ask::Ping).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_failures_as_are_allowed_and_an_answer_begin_the_count_anew() {
    let ward = ward(false, Duration::ZERO).await;
    ward.patient.tell(Ask::BeLate(2)).await.unwrap();
    tokio::time::sleep(SECOND * 60).await;
    ward.patient.tell(Ask::BeLate(2)).await.unwrap();
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(ward.system.tree()[0].children[0].restarts, 0);
    ward.patient.tell(Ask::BeLate(3)).await.unwrap();
    assert_eq!(failures(&ward.end().await.0), Some(3));
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_child_has_its_shutdown_time_to_stop_and_is_killed_after_it() {
    for (stop_takes_s, after_s, is_killed) in [(4, 36 + 4, false), (6, 36 + 5, true)] {
        let ward = ward(false, SECOND * stop_takes_s).await;
        ward.patient.tell(Ask::Hang).await.unwrap();
        let (reason, ended_after_s) = ward.end().await;
        assert_eq!(ended_after_s, after_s);
        assert_eq!(matches!(reason, ExitReason::Killed), is_killed, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_end_is_abnormal_and_the_restart_follows_the_terms() {
    for (restart, is_back) in [(Restart::Transient, true), (Restart::Temporary, false)] {
        let system = System::new();
        let (spec, address, _) = patient(&system, false, Duration::ZERO);
        let top = SupervisorSpec::new("ward").child(spec.restart(restart));
        system.supervise(top).await.unwrap();
        address.tell(Ask::Hang).await.unwrap();
        tokio::time::sleep(SECOND * 60).await;
        assert_eq!(address.is_alive(), is_back);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_after_the_end() {
    let ward = ward(false, Duration::ZERO).await;
    let top = ward.system.supervisor("ward").unwrap();
    top.terminate_child("patient").await.unwrap();
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(ward.pings.load(Ordering::Relaxed), 0);
    assert_eq!(ward.patient.stats().rejected, 0, "nothing was sent");
    top.restart_child("patient").await.unwrap();
    tokio::time::sleep(SECOND * 11).await;
    assert_eq!(ward.pings.load(Ordering::Relaxed), 1, "and once it is back, by one alone");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_child_is_not_unhealthy() {
    let ward = ward(false, Duration::ZERO).await;
    ward.patient.sys().suspend(SOON).await.unwrap();
    tokio::time::sleep(SECOND * 120).await;
    assert_eq!(ward.system.tree()[0].children[0].restarts, 0);
    ward.patient.sys().resume(SOON).await.unwrap();
    ward.patient.ask(SOON, Ask::Ping).await.unwrap();
    ward.patient.tell(Ask::Hang).await.unwrap();
    assert_eq!(failures(&ward.end().await.0), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_child_is_watched_as_well() {
    let system = System::new();
    let top = DynamicSpec::new("ward").intensity(10, SECOND);
    let top = system.supervise_dynamic(top).await.unwrap();
    let (spec, address, pings) = patient(&system, false, Duration::ZERO);
    top.start_child(spec).await.unwrap();
    for restarts in 0..2 {
        address.tell(Ask::Hang).await.unwrap();
        tokio::time::sleep(SECOND * 35).await;
        assert_eq!(top.children()[0].restarts, restarts);
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(top.children()[0].restarts, restarts + 1);
    }
    top.terminate_child("patient").await.unwrap();
    let asked = pings.load(Ordering::Relaxed);
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(pings.load(Ordering::Relaxed), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unhealthy_child_that_never_awaits_is_reported_as_stuck_and_not_started_beside_itself() {
    let system = System::new();
    let (spec, address) = ChildSpec::worker(&system, "patient", MailboxOptions::default(), || Patient {
        pings: Arc::default(),
        late: 0,
        stop_takes: Duration::ZERO,
        traps: false,
    });
    let often = Duration::from_millis(5);
    let check = HealthCheck::new(&address, Ask::Ping).interval(often).timeout(often).failures_max(0);
    let spec = spec.health(check).shutdown(Shutdown::After(often));
    system.supervise(SupervisorSpec::new("ward").intensity(10, SECOND).child(spec)).await.unwrap();
    let mut events = system.events();
    let (gate, closed) = std::sync::mpsc::channel();
    address.tell(Ask::Block(closed)).await.unwrap();
    let stuck = async {
        loop {
            match events.next().await {
                Some(Ok(Event::Stuck { id, .. })) => return id,
                Some(Ok(Event::Restarted { .. })) => panic!("its place is taken"),
                Some(_) | None => {}
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, stuck).await.expect("it is reported"), address.id());
    drop(gate);
    until(|| system.tree()[0].children[0].restarts >= 1).await;
}
