//! The circuit against a naive one that keeps everything that ever happened and works the present out from it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Call,
    End(u8, Outcome),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Neither),
    ];
    let step = prop_oneof![
        4 => Just(Step::Call),
        4 => (any::<u8>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        2 => (0..8_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Clone, Copy)]
enum Past {
    Let(usize, u64),
    Ended(usize, Outcome, u64),
}

/// The present as it follows from the past: the calls whose outcome matters, failures in a row among them, when the circuit
/// was opened, and whether one of the calls is the trial.
struct Present {
    matters: BTreeSet<usize>,
    failures: u32,
    free_at: Option<u64>,
    has_trial: bool,
}

fn present(past: &[Past], failures_max: u32, cool_down: u64) -> Present {
    let closed = || Present { matters: BTreeSet::new(), failures: 0, free_at: None, has_trial: false };
    let open = |free_at| Present { free_at: Some(free_at), ..closed() };
    let mut now = closed();
    for event in past {
        match *event {
            Past::Let(call, at) => {
                now.has_trial = now.free_at.is_some_and(|free_at| at >= free_at);
                now.matters.insert(call);
            }
            Past::Ended(call, _, _) if !now.matters.remove(&call) => {}
            Past::Ended(_, Outcome::Success, _) if now.has_trial => now = closed(),
            Past::Ended(_, Outcome::Failure, at) if now.has_trial => now = open(at + cool_down),
            Past::Ended(_, Outcome::Neither, at) if now.has_trial => now = open(at),
            Past::Ended(_, Outcome::Success, _) => now.failures = 0,
            Past::Ended(_, Outcome::Neither, _) => {}
            Past::Ended(_, Outcome::Failure, at) => {
                now.failures += 1;
                if now.failures >= failures_max {
                    now = open(at + cool_down);
                }
            }
        }
    }
    now
}

proptest! {
    #[test]
    fn a_circuit_does_what_follows_from_its_past(
        failures_max in 1..4_u32, cool_down in 0..6_u64, steps in steps(),
    ) {
        let second = Duration::from_secs;
        let options = BreakerOptions { failures_max, cool_down: second(cool_down) };
        let circuit = SharedCircuit::new(options);
        let epoch = Instant::now();
        let mut now = 0;
        let mut past = Vec::new();
        let mut under_way = Vec::new();
        let mut calls = 0;
        for step in steps {
            let clock = || epoch + second(now);
            let before = present(&past, failures_max, cool_down);
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Call => {
                    let expected = match before.free_at {
                        Some(_) if before.has_trial => Err(second(cool_down)),
                        Some(free_at) if now < free_at => Err(second(free_at - now)),
                        Some(_) | None => Ok(()),
                    };
                    let admitted = circuit.admit(clock);
                    prop_assert_eq!(admitted.map(|_| ()), expected);
                    if let Ok(admitted) = admitted {
                        past.push(Past::Let(calls, now));
                        under_way.push((calls, admitted));
                        calls += 1;
                    }
                }
                Step::End(which, outcome) if !under_way.is_empty() => {
                    let (call, admitted) = under_way.remove(usize::from(which) % under_way.len());
                    circuit.settle(admitted, outcome, clock);
                    past.push(Past::Ended(call, outcome, now));
                }
                Step::End(..) => {}
            }
            let after = present(&past, failures_max, cool_down);
            let expected = match after.free_at {
                None => BreakerState::Closed { failures: after.failures },
                Some(free_at) if now < free_at => BreakerState::Open { retry_after: second(free_at - now) },
                Some(_) => BreakerState::HalfOpen,
            };
            prop_assert_eq!(circuit.lock().show(epoch + second(now)), expected);
            let is_quiet = circuit.quiet.load(Ordering::Acquire) != UNQUIET;
            prop_assert_eq!(is_quiet, expected == BreakerState::Closed { failures: 0 });
        }
    }
}

#[test]
fn a_quiet_circuit_neither_locks_nor_looks_at_the_clock() {
    let circuit = SharedCircuit::new(BreakerOptions::default());
    let held = circuit.lock();
    let no_clock = || -> Instant { panic!("looked at the clock") };
    for outcome in [Outcome::Success, Outcome::Neither] {
        let call = circuit.admit(no_clock).unwrap();
        assert_eq!(circuit.settle(call, outcome, no_clock), None);
    }
    drop(held);
    let call = circuit.admit(no_clock).unwrap();
    assert_eq!(circuit.settle(call, Outcome::Failure, Instant::now), None);
    assert_eq!(circuit.quiet.load(Ordering::Acquire), UNQUIET);
}

#[test]
fn a_cool_down_beyond_the_clock_is_a_year() {
    let mut circuit = Circuit::new(BreakerOptions { failures_max: 0, cool_down: Duration::MAX });
    let now = Instant::now();
    let call = circuit.admit(now).unwrap();
    assert_eq!(circuit.settle(call, Outcome::Failure, now), Some(Turn::Opened));
    let refused = circuit.admit(now).unwrap_err();
    assert_eq!(refused.as_secs(), 365 * 24 * 60 * 60);
}
