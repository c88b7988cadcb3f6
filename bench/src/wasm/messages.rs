//! Workloads `hop`, `ring` and `call_round_trip`: messages that a guest has handled.

use std::time::{Duration, Instant};

use airssys_rt::Overflow;
use airssys_wasm::Payload;
use airssys_wasm::manifest::TopicPattern;

use super::bare::{self, Message};
use super::ours::{self, Node, Tree};
use super::{BARE, Guest, OURS, Sides};
use crate::Outcome;
use crate::report::{Report, Series, interleave, ns_each};

const HOP_GUESTS: usize = 8;
const HOP_TOKENS: usize = 256;
const HOP_BYTES: [u8; 64] = [b'x'; 64];
const HOPS: u64 = 1_000_000;
const RING_GUESTS: usize = 100;
const RING_HOPS: u64 = 200_000;
const CALLS: u64 = 50_000;
/// A workload that takes this long stands still.
const STALLED: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{workload}: messages stopped arriving")]
    Stalled { workload: &'static str },
    #[error("{workload}: a guest did something else than to be measured")]
    Astray { workload: &'static str },
}

pub(super) fn hop(report: &mut Report, sides: &Sides, guest: &Guest) -> Outcome<()> {
    let (one, two) = (Node::new(&sides.engines, 1)?, Node::new(&sides.engines, 2)?);
    let mut alone = guest.bare.start(&[("to".to_owned(), "next".to_owned())])?;
    let message = bare::message_for_good(&HOP_BYTES);
    let [ours_one, ours_two, ours_waiting, bare] = interleave([
        &mut || saturated(&one, guest, Overflow::Reject),
        &mut || saturated(&two, guest, Overflow::Reject),
        &mut || saturated(&one, guest, Overflow::Wait),
        &mut || bare_sends("hop", &mut alone, message, HOPS),
    ])?;
    let per_second = ours_two.iter().map(|ns| 1e9 / ns).collect();
    let bare = Series { subject: BARE, metric: "ns_per_hop", unit: "ns", samples: bare };
    let ns = |metric, samples| Series { subject: OURS, metric, unit: "ns", samples };
    report.add("hop", &ns("ns_per_hop", ours_one), Some(&bare));
    report.add("hop", &ns("ns_per_hop_2_workers", ours_two), Some(&bare));
    let rate = Series { subject: OURS, metric: "hops_per_s_2_workers", unit: "1/s", samples: per_second };
    report.add("hop", &rate, None);
    report.add("hop", &ns("ns_per_hop_senders_wait", ours_waiting), Some(&bare));
    report.add("hop", &bare, None);
    Ok(())
}

/// Tokens go round a small ring for ever; counts what the guests handled between two looks at the clock.
fn saturated(node: &Node, guest: &Guest, overflow: Overflow) -> Outcome<f64> {
    let tree = node.supervise("hop", ours::ring(&guest.ours, HOP_GUESTS, overflow)?)?;
    node.tokio.block_on(async {
        for component in tree.components.iter().cycle().take(HOP_TOKENS) {
            component.send(Payload::raw(HOP_BYTES.as_slice())).await?;
        }
        Outcome::Ok(())
    })?;
    let handled = wait_for_handled(&tree, HOPS / 10)?;
    let begin = Instant::now();
    let handled = wait_for_handled(&tree, handled + HOPS)? - handled;
    let elapsed = begin.elapsed();
    node.stop(tree);
    Ok(ns_each(elapsed, handled))
}

/// The workers do not notice: this thread sleeps and now and then reads the counts of the mailboxes.
fn wait_for_handled(tree: &Tree, count: u64) -> Outcome<u64> {
    let begin = Instant::now();
    while begin.elapsed() < STALLED {
        let handled = tree.components.iter().map(|component| component.mailbox().handled).sum();
        if handled >= count {
            return Ok(handled);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Broken::Stalled { workload: "hop" }.into())
}

fn bare_sends(
    workload: &'static str,
    guest: &mut bare::Guest<&'static Message>,
    message: &'static Message,
    count: u64,
) -> Outcome<f64> {
    let mut sent = 0;
    let begin = Instant::now();
    for _ in 0..count {
        guest.handle(message)?;
        sent += guest.drain() as u64;
    }
    let elapsed = begin.elapsed();
    if sent != count {
        return Err(Broken::Astray { workload }.into());
    }
    Ok(ns_each(elapsed, count))
}

pub(super) fn ring(report: &mut Report, sides: &Sides, guest: &Guest) -> Outcome<()> {
    let (one, two) = (Node::new(&sides.engines, 1)?, Node::new(&sides.engines, 2)?);
    let rings = [&one, &two].map(|node| -> Outcome<_> {
        let tree = node.supervise("ring", ours::ring(&guest.ours, RING_GUESTS, Overflow::Reject)?)?;
        let done = node.runtime.router().listen([TopicPattern::parse("ring.done")?]);
        Ok((tree, done))
    });
    let [Ok((tree_one, mut done_one)), Ok((tree_two, mut done_two))] = rings else {
        return Err(Broken::Astray { workload: "ring" }.into());
    };
    let to = [("to".to_owned(), "next".to_owned())];
    let mut alone = guest.bare.start(&to)?;
    let mut many = Vec::with_capacity(RING_GUESTS);
    for _ in 0..RING_GUESTS {
        many.push(guest.bare.start(&to)?);
    }
    let message = bare::message_for_good(&RING_HOPS.to_le_bytes());
    let round = |node: &Node, tree: &Tree, done: &mut tokio::sync::mpsc::Receiver<_>| {
        let begin = Instant::now();
        node.tokio.block_on(async {
            tree.components[0].send(Payload::raw(RING_HOPS.to_le_bytes().to_vec())).await?;
            tokio::time::timeout(STALLED, done.recv())
                .await
                .ok()
                .flatten()
                .ok_or(Broken::Stalled { workload: "ring" })?;
            Outcome::Ok(())
        })?;
        // The guest that gets zero handles it too.
        Ok(ns_each(begin.elapsed(), RING_HOPS + 1))
    };
    let [ours_one, ours_two, bare, bare_many] = interleave([
        &mut || round(&one, &tree_one, &mut done_one),
        &mut || round(&two, &tree_two, &mut done_two),
        &mut || bare_sends("ring", &mut alone, message, RING_HOPS),
        &mut || {
            let begin = Instant::now();
            for hop in 0..RING_HOPS as usize {
                let guest = &mut many[hop % RING_GUESTS];
                guest.handle(message)?;
                guest.drain();
            }
            Ok(ns_each(begin.elapsed(), RING_HOPS))
        },
    ])?;
    one.stop(tree_one);
    two.stop(tree_two);
    let ns = |subject, metric, samples| Series { subject, metric, unit: "ns", samples };
    let bare = ns(BARE, "ns_per_hop", bare);
    report.add("ring", &ns(OURS, "ns_per_hop", ours_one), Some(&bare));
    report.add("ring", &ns(OURS, "ns_per_hop_2_workers", ours_two), Some(&bare));
    report.add("ring", &bare, None);
    report.add("ring", &ns(BARE, "ns_per_hop_100_instances", bare_many), Some(&bare));
    Ok(())
}

pub(super) fn call_round_trip(
    report: &mut Report,
    sides: &Sides,
    caller: &Guest,
    callee: &Guest,
) -> Outcome<()> {
    let (one, two) = (Node::new(&sides.engines, 1)?, Node::new(&sides.engines, 2)?);
    let to = [("to".to_owned(), "callee".to_owned())];
    let pair = |node: &Node| {
        let callee = ours::spec("callee", &callee.ours, &[], Overflow::Reject)?;
        let caller = ours::spec("caller", &caller.ours, &to, Overflow::Wait)?;
        node.supervise("calls", vec![callee, caller])
    };
    let (tree_one, tree_two) = (pair(&one)?, pair(&two)?);
    let order = [b"call:".as_slice(), &HOP_BYTES].concat();
    let message = bare::message_for_good(&order);
    let order = Payload::raw(order);
    let mut direct = one.tokio.block_on(caller.bare.start_on_fibre(&to, callee.bare.start(&[])?))?;
    let calls = |node: &Node, tree: &Tree| {
        let (caller, order) = (tree.components[1].clone(), order.clone());
        node.run(async move {
            let begin = Instant::now();
            for _ in 1..CALLS {
                caller.send(order.clone()).await?;
            }
            // Handled after all others, and says that the calls do answer.
            let answer = caller.call(order, Some(STALLED)).await?;
            if *answer.bytes != HOP_BYTES {
                return Err(Broken::Astray { workload: "call_round_trip" }.into());
            }
            Ok(ns_each(begin.elapsed(), CALLS))
        })
    };
    let [ours_one, ours_two, bare] =
        interleave([&mut || calls(&one, &tree_one), &mut || calls(&two, &tree_two), &mut || {
            one.tokio.block_on(async {
                let begin = Instant::now();
                for _ in 0..CALLS {
                    let answer = direct.handle_on_fibre(message).await?;
                    if answer.is_none_or(|answer| answer.bytes != HOP_BYTES) {
                        return Err(Broken::Astray { workload: "call_round_trip" }.into());
                    }
                }
                Ok(ns_each(begin.elapsed(), CALLS))
            })
        }])?;
    one.stop(tree_one);
    two.stop(tree_two);
    let ns = |subject, metric, samples| Series { subject, metric, unit: "ns", samples };
    let bare = ns(BARE, "ns_per_call", bare);
    report.add("call_round_trip", &ns(OURS, "ns_per_call", ours_one), Some(&bare));
    report.add("call_round_trip", &ns(OURS, "ns_per_call_2_workers", ours_two), Some(&bare));
    report.add("call_round_trip", &bare, None);
    Ok(())
}
