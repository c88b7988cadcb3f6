//! Everything at once: asks that end in every way there is, and sums that must come out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use airssys_rt::{
    Actor, Address, AskError, ChildSpec, Context, ExitReason, MailboxOptions, MailboxStats, Overflow,
    ReplyTo, SupervisorSpec, System, TellError,
};
use tokio::time::sleep;

use crate::probe::{SOON, until};

const ASKERS: usize = 64;
const POLICIES: [Overflow; 4] =
    [Overflow::Wait, Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest];

enum Request {
    /// Answered at once, or after others had a turn.
    Answer {
        id: usize,
        yields: bool,
        reply: ReplyTo<usize>,
    },
    /// Dropped without an answer.
    Drop {
        id: usize,
        reply: ReplyTo<usize>,
    },
    /// Kept until the incarnation ends, or until the next `Release`.
    Hold {
        id: usize,
        reply: ReplyTo<usize>,
    },
    /// Answers what is held, which may be too late.
    Release,
    Panic,
}

/// What happened, by kind.
#[derive(Debug, Default)]
struct Sums {
    // To the askers.
    answered: AtomicU64,
    died: AtomicU64,
    timed_out: AtomicU64,
    full: AtomicU64,
    expired: AtomicU64,
    abandoned: AtomicU64,
    // To messages that are not asked.
    told: AtomicU64,
    refused: AtomicU64,
    // In the handler.
    handled: AtomicU64,
    handled_twice: AtomicU64,
    answers_taken: AtomicU64,
    answers_returned: AtomicU64,
}

impl Sums {
    fn add(sum: &AtomicU64) {
        sum.fetch_add(1, Ordering::Relaxed);
    }
}

fn read(sum: &AtomicU64) -> u64 {
    sum.load(Ordering::Relaxed)
}

struct Callee {
    sums: Arc<Sums>,
    handled: Arc<Vec<AtomicU8>>,
    held: Vec<(usize, ReplyTo<usize>)>,
}

impl Callee {
    /// A panic here would be one of many.
    fn note(&self, id: usize) {
        if self.handled[id].fetch_add(1, Ordering::Relaxed) > 0 {
            Sums::add(&self.sums.handled_twice);
        }
    }

    fn answer(&self, id: usize, reply: ReplyTo<usize>) {
        match reply.send(id) {
            Ok(()) => Sums::add(&self.sums.answers_taken),
            Err(returned) => {
                Sums::add(if returned == id {
                    &self.sums.answers_returned
                } else {
                    &self.sums.handled_twice
                });
            }
        }
    }
}

impl Actor for Callee {
    type Message = Request;

    async fn handle(&mut self, request: Request, _: &mut Context<Self>) -> Result<(), ExitReason> {
        Sums::add(&self.sums.handled);
        match request {
            Request::Answer { id, yields, reply } => {
                self.note(id);
                if yields {
                    tokio::task::yield_now().await;
                }
                self.answer(id, reply);
            }
            Request::Drop { id, reply } => {
                self.note(id);
                drop(reply);
            }
            Request::Hold { id, reply } => {
                self.note(id);
                self.held.push((id, reply));
            }
            Request::Release => {
                for (id, reply) in std::mem::take(&mut self.held) {
                    self.answer(id, reply);
                }
            }
            Request::Panic => panic!("at random"),
        }
        Ok(())
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One request of a random kind, and what became of it.
async fn ask_at_random(callee: &Address<Request>, id: usize, random: &mut Random, sums: &Sums) {
    let tell = |request| match callee.try_tell(request) {
        Ok(()) => Sums::add(&sums.told),
        Err(_) => Sums::add(&sums.refused),
    };
    match random.below(1000) {
        0..4 => tell(Request::Panic),
        // False between an end and the restart.
        4..8 => drop(callee.exit(ExitReason::Killed).then_some(())),
        8..100 => tell(Request::Release),
        _ => {}
    }
    let kind = random.below(100);
    let timeout = match kind {
        0..80 => SOON,
        _ => Duration::from_micros(500 + random.below(3000)),
    };
    let yields = random.below(4) == 0;
    let make = move |reply| match kind {
        0..75 => Request::Answer { id, yields, reply },
        75..80 => Request::Drop { id, reply },
        _ => Request::Hold { id, reply },
    };
    let asked = callee.ask(timeout, make);
    let outcome = if random.below(20) == 0 {
        // Polled at least once, then given up.
        let patience = Duration::from_micros(random.below(200));
        tokio::select! {
            biased;
            outcome = asked => outcome,
            () = sleep(patience) => return Sums::add(&sums.abandoned),
        }
    } else {
        asked.await
    };
    Sums::add(match outcome {
        Ok(answer) => {
            assert_eq!(answer, id);
            &sums.answered
        }
        Err(AskError::Died) => &sums.died,
        Err(AskError::Timeout) => &sums.timed_out,
        Err(AskError::NotSent(TellError::Full(_))) => {
            tokio::task::yield_now().await;
            &sums.full
        }
        Err(AskError::NotSent(TellError::Expired(_))) => &sums.expired,
        Err(AskError::NotSent(TellError::Closed(_) | TellError::TooLarge(_))) => {
            panic!("it is supervised, and no bytes are counted")
        }
    });
}

#[expect(clippy::print_stdout, reason = "who runs this by hand wants to see the sums")]
async fn every_sum_comes_out(asks: usize) {
    let mut seen = [0; 7];
    for overflow in POLICIES {
        let asks = asks / POLICIES.len();
        let system = System::new();
        let sums = Arc::new(Sums::default());
        let handled: Arc<Vec<AtomicU8>> = Arc::new((0..asks).map(|_| AtomicU8::new(0)).collect());
        let (callee_sums, callee_handled) = (sums.clone(), handled.clone());
        // Fewer than may come at once.
        let mailbox = MailboxOptions::bounded(ASKERS - 8).overflow(overflow);
        let (child, callee) = ChildSpec::worker(&system, "callee", mailbox, move || Callee {
            sums: callee_sums.clone(),
            handled: callee_handled.clone(),
            held: Vec::new(),
        });
        let spec = SupervisorSpec::new("top").intensity(u32::MAX, Duration::from_secs(1)).child(child);
        system.supervise(spec).await.unwrap();
        let askers: Vec<_> = (0..ASKERS)
            .map(|asker| {
                let (callee, sums) = (callee.clone(), sums.clone());
                tokio::spawn(async move {
                    let mut random = Random(asker as u64 + 1);
                    for id in (asker..asks).step_by(ASKERS) {
                        ask_at_random(&callee, id, &mut random, &sums).await;
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.await.unwrap();
        }
        until(|| callee.stats().depth == 0).await;
        // What is held is answered too late, or dies with the system.
        drop(callee.try_tell(Request::Release).map(|()| Sums::add(&sums.told)));
        until(|| callee.stats().depth == 0).await;
        let restarts = callee.sys().node().restarts;
        let stopped = system.shutdown(SOON).await;
        assert!(stopped.is_clean(), "{stopped:?}");
        let dead = system.dead_letters();
        println!(
            "{overflow:?}: {asks} asks, {restarts} restarts\n  {sums:?}\n  {:?}\n  {dead:?}",
            callee.stats()
        );
        check(asks as u64, &sums, callee.stats(), dead);
        for (seen, now) in seen.iter_mut().zip([
            restarts,
            read(&sums.answered),
            read(&sums.died),
            read(&sums.timed_out),
            read(&sums.full),
            read(&sums.abandoned),
            dead.late_replies,
        ]) {
            *seen += now;
        }
    }
    assert!(seen.iter().all(|seen| *seen > 0), "every kind of end is among them: {seen:?}");
}

fn check(asks: u64, sums: &Sums, stats: MailboxStats, dead: airssys_rt::DeadLetterCounts) {
    let [answered, died, timed_out, full, expired, abandoned] =
        [&sums.answered, &sums.died, &sums.timed_out, &sums.full, &sums.expired, &sums.abandoned].map(read);
    // Each ask resolves once.
    assert_eq!(asks, answered + died + timed_out + full + expired + abandoned);
    // Each message that was sent to the mailbox is counted once, whatever became of it.
    assert_eq!(asks - expired + read(&sums.told) + read(&sums.refused), stats.accepted + stats.rejected);
    assert_eq!(stats.accepted, stats.handled + stats.dropped);
    assert_eq!(stats.handled, read(&sums.handled));
    assert_eq!(read(&sums.handled_twice), 0);
    assert_eq!((stats.depth, stats.bytes), (0, 0));
    // Each message that was lost on purpose is a dead letter, and so is each answer that nobody took.
    assert_eq!(stats.dropped, dead.closed + dead.dropped_oldest + dead.dropped_newest + dead.expired);
    let (taken, returned) = (read(&sums.answers_taken), read(&sums.answers_returned));
    assert_eq!(answered + dead.late_replies, taken + returned);
    assert!(dead.late_replies >= returned);
    assert_eq!(dead.refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_one_of_a_million_asks_resolves_once_and_every_sum_comes_out() {
    every_sum_comes_out(1_000_000).await;
}
