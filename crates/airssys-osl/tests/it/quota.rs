//! Quotas: never over, nothing counted twice, nothing done before the answer.

use std::sync::atomic::{AtomicU64, Ordering};

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{
    Access, Gate, Layer, LayerRefusal, Operation, Quota, QuotaError, QuotaOptions, Refusal, Subject, Usage,
};

use crate::audit::{gate_by, records};

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
host = ["clock"]
[[subject]]
name = "other"
[[subject.allow]]
host = ["clock"]
"#;

/// Moves some bytes.
#[derive(Debug)]
struct Moving {
    access: Access,
    bytes: u64,
}

impl Operation for Moving {
    fn name(&self) -> &'static str {
        "test.move"
    }

    fn accesses(&self) -> &[Access] {
        std::slice::from_ref(&self.access)
    }

    fn bytes_max(&self) -> u64 {
        self.bytes
    }
}

fn moving(access: &str, bytes: u64) -> Moving {
    Moving { access: Access::parse(access).unwrap(), bytes }
}

fn who(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

fn quota(operations_max: u64, bytes_max: u64, subjects_max: usize) -> Quota {
    Quota::new(QuotaOptions { operations_max, bytes_max, subjects_max })
}

fn gate_with(quota: &Quota, folder: &tempfile::TempDir) -> Gate {
    let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
    gate_by(POLICY, &folder.path().join("log"), options).with_layers([Layer::Quota(quota.clone())])
}

fn used(operations: u64, bytes: u64) -> Usage {
    Usage { operations, bytes, ..Usage::default() }
}

#[test]
fn g18_many_threads_never_get_more_than_the_quota_and_a_failure_refunds_once() {
    const THREADS: u64 = 64;
    const EACH: u64 = 50;
    const OPERATIONS_MAX: u64 = 100;
    let folder = tempfile::tempdir().unwrap();
    let quota = quota(OPERATIONS_MAX, OPERATIONS_MAX * 10, 4);
    let gate = gate_with(&quota, &folder);
    let (done, failed, at_once, most) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (gate, quota, done, failed, at_once, most) = (&gate, &quota, &done, &failed, &at_once, &most);
            scope.spawn(move || {
                let tool = who("tool");
                for turn in 0..EACH {
                    let Ok(permit) = gate.admit(&tool, moving("host clock", 10)) else { continue };
                    let now = at_once.fetch_add(1, Ordering::SeqCst) + 1 + done.load(Ordering::SeqCst);
                    // Two counters are not read in one moment, so what is asked for certain is the quota's own.
                    most.fetch_max(now, Ordering::SeqCst);
                    let usage = quota.usage(&tool);
                    assert!(usage.operations + usage.operations_reserved <= OPERATIONS_MAX, "{usage:?}");
                    assert!(usage.bytes + usage.bytes_reserved <= OPERATIONS_MAX * 10, "{usage:?}");
                    std::thread::yield_now();
                    let result = match (thread + turn) % 2 {
                        0 => Ok(()),
                        _ => Err("it did not work"),
                    };
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    match permit.perform(|_| result) {
                        Ok(()) => done.fetch_add(1, Ordering::SeqCst),
                        Err(_) => failed.fetch_add(1, Ordering::SeqCst),
                    };
                }
            });
        }
    });
    let (done, failed) = (done.into_inner(), failed.into_inner());
    assert!(done <= OPERATIONS_MAX && failed > 0, "{done} done, {failed} failed");
    assert_eq!(quota.usage(&who("tool")), used(done, done * 10), "every failure was given back, and once");
    // What is left is all that is left.
    for _ in done..OPERATIONS_MAX {
        gate.admit(&who("tool"), moving("host clock", 10)).unwrap().perform(|_| Ok::<_, String>(())).unwrap();
    }
    gate.admit(&who("tool"), moving("host clock", 10)).unwrap_err();
    assert_eq!(quota.usage(&who("tool")), used(OPERATIONS_MAX, OPERATIONS_MAX * 10));
    assert!(most.into_inner() > 0);
}

#[test]
fn g18_reservations_of_many_threads_fill_a_quota_exactly() {
    let quota = quota(1_000, u64::MAX, 1);
    let held = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..100 {
                    if let Ok(reservation) = quota.reserve(&who("tool"), 1, 7) {
                        held.lock().unwrap().push(reservation);
                    }
                }
            });
        }
    });
    let mut held = held.into_inner().unwrap();
    assert_eq!(held.len(), 1_000, "all that there is, and nothing more");
    let rest = held.split_off(400);
    held.into_iter().for_each(|reservation| reservation.commit(3));
    drop(rest);
    assert_eq!(quota.usage(&who("tool")), used(400, 1_200));
}

#[test]
fn g20_nothing_is_done_before_a_quota_denies() {
    let folder = tempfile::tempdir().unwrap();
    let quota = quota(10, 100, 4);
    let gate = gate_with(&quota, &folder);
    let effects = AtomicU64::new(0);
    let does = |bytes: u64| {
        let permit = gate.admit(&who("tool"), moving("host clock", bytes)).map_err(Box::new)?;
        permit.perform(|_| Ok::<_, String>(effects.fetch_add(1, Ordering::SeqCst))).unwrap();
        Ok(())
    };
    does(60).unwrap();
    let denied: Box<airssys_osl::Denied<Moving>> = does(41).unwrap_err();
    assert_eq!(denied.operation.bytes, 41, "it is given back");
    let Refusal::Layer(why) = denied.why else { panic!("{:?}", denied.why) };
    assert!(matches!(*why, LayerRefusal::Quota(QuotaError::Bytes { max: 100 })), "{why:?}");
    does(u64::MAX).unwrap_err();
    assert_eq!((effects.load(Ordering::SeqCst), quota.usage(&who("tool"))), (1, used(1, 60)));
    does(40).unwrap();
    does(1).unwrap_err();
    does(0).unwrap();
    drop(gate);
    let records = records(&folder.path().join("log"));
    let denials: Vec<_> = records.iter().filter(|record| record["kind"] == "denial").collect();
    assert_eq!(denials.len(), 3, "one for each");
    assert_eq!(denials[0]["rule"], "quota: over the quota of 100 bytes");
    assert_eq!(denials[0]["accesses"], serde_json::json!(["host clock"]));
}

#[test]
fn what_the_policy_denies_costs_no_quota_and_what_nobody_knows_the_end_of_does() {
    let folder = tempfile::tempdir().unwrap();
    let quota = quota(2, 100, 4);
    let gate = gate_with(&quota, &folder);
    for _ in 0..10 {
        gate.admit(&who("tool"), moving("host info", 10)).unwrap_err();
    }
    assert_eq!(quota.usage(&who("tool")), used(0, 0));
    let permit = gate.admit(&who("tool"), moving("host clock", 10)).unwrap();
    let under_way = Usage { operations_reserved: 1, bytes_reserved: 10, ..Usage::default() };
    assert_eq!(quota.usage(&who("tool")), under_way);
    drop(permit);
    assert_eq!(quota.usage(&who("tool")), used(1, 10));
    let withdrawn = gate.admit(&who("tool"), moving("host clock", 10)).unwrap().withdraw();
    assert_eq!((withdrawn.bytes, quota.usage(&who("tool"))), (10, used(1, 10)));
}

#[test]
fn subjects_are_counted_apart_and_bounded() {
    let quota = quota(1, 1, 2);
    quota.reserve(&who("a"), 1, 1).unwrap().commit_all();
    let held = quota.reserve(&who("b"), 1, 0).unwrap();
    assert!(matches!(quota.reserve(&who("a"), 1, 0), Err(QuotaError::Operations { max: 1 })));
    assert!(matches!(quota.reserve(&who("c"), 1, 0), Err(QuotaError::Subjects { max: 2 })));
    // Nothing wanted needs no room, also when somebody else's room goes meanwhile.
    let nothing = quota.reserve(&who("b"), 0, 0).unwrap();
    drop(held);
    nothing.commit_all();
    quota.reserve(&who("c"), 1, 0).unwrap().commit(1);
    quota.renew();
    assert_eq!(quota.usage(&who("a")), used(0, 0));
    quota.reserve(&who("a"), 1, 1).unwrap().commit_all();
    quota.reserve(&who("b"), 1, 1).unwrap().commit_all();
}

#[test]
fn a_renewal_takes_nothing_from_what_is_under_way() {
    let quota = quota(2, 100, 2);
    let held = quota.reserve(&who("a"), 1, 60).unwrap();
    quota.reserve(&who("a"), 1, 40).unwrap().commit_all();
    quota.renew();
    assert!(matches!(quota.reserve(&who("a"), 1, 41), Err(QuotaError::Bytes { max: 100 })));
    held.commit(u64::MAX);
    assert_eq!(quota.usage(&who("a")), used(1, 60), "no more is counted than was reserved");
}
