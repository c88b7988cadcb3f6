//! The plan beside a naive model of OTP's `supervisor`: same supervisor, same history, same steps and the same state.
//!
//! The model is written from what `supervisor.erl` does: one list of child records, each with a pid that is a process,
//! `undefined` or `restarting`, walked from end to end for everything; a call blocks until it is done; a failed restart casts
//! `try_again_restart` to the supervisor itself. It knows nothing of delays, allowances or stuck children.
//! Where it departs from OTP: time is exact, and not rounded to seconds.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use tokio::time::Instant;

use super::*;
use crate::supervisor::spec::{Shutdown, Terms};

/// What can be seen of a supervisor at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    Stopped(u64),
    Started(u64),
    StartFailed(u64),
    /// It exits with `shutdown`, after what it stopped.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pid {
    Undefined,
    Alive,
    Restarting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Invalid,
    NotFound,
    Running,
    Restarting,
    NotStarted,
}

#[derive(Clone, Copy, Debug)]
struct Sort {
    restart: Restart,
    is_significant: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Exit {
        child: usize,
        is_abnormal: bool,
    },
    /// The supervisor comes to its next message to itself.
    Turn,
    Start(Sort),
    Terminate {
        child: usize,
    },
    Restart {
        child: usize,
    },
    Delete {
        child: usize,
    },
    Pass {
        ms: u64,
    },
}

#[derive(Clone, Debug)]
struct Setup {
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    intensity: u32,
    period_ms: u64,
    children: Vec<Sort>,
    /// Whether the n-th start succeeds, over and over.
    starts: Vec<bool>,
}

impl Setup {
    fn is_valid(&self, sort: Sort) -> bool {
        let terms =
            Terms { is_significant: sort.is_significant, ..Terms::new(sort.restart, Shutdown::Infinity) };
        terms.check(&"child".into(), self.auto_shutdown).is_ok()
    }
}

/// Starts that come out as the setup says.
#[derive(Clone, Debug)]
struct Starts {
    outcomes: Vec<bool>,
    next: usize,
}

impl Starts {
    fn succeeds(&mut self) -> bool {
        let outcome = self.outcomes[self.next % self.outcomes.len()];
        self.next += 1;
        outcome
    }
}

// The model.

#[derive(Clone, Copy, Debug)]
struct Record {
    id: u64,
    sort: Sort,
    pid: Pid,
}

struct Otp {
    setup: Setup,
    /// In start order.
    children: Vec<Record>,
    next_id: u64,
    restarts: Vec<Instant>,
    casts: VecDeque<u64>,
    starts: Starts,
    trace: Vec<Trace>,
    is_over: bool,
}

impl Otp {
    fn new(setup: &Setup) -> Self {
        let children: Vec<Record> = (0..)
            .zip(&setup.children)
            .map(|(id, sort)| Record { id, sort: *sort, pid: Pid::Alive })
            .collect();
        Self {
            setup: setup.clone(),
            next_id: children.len() as u64,
            children,
            restarts: Vec::new(),
            casts: VecDeque::new(),
            starts: Starts { outcomes: setup.starts.clone(), next: 0 },
            trace: Vec::new(),
            is_over: false,
        }
    }

    fn find(&self, id: u64) -> Option<Record> {
        self.children.iter().find(|record| record.id == id).copied()
    }

    fn set_pid(&mut self, id: u64, pid: Pid) {
        for record in &mut self.children {
            if record.id == id {
                record.pid = pid;
            }
        }
    }

    fn do_start_child(&mut self, id: u64) -> bool {
        let succeeds = self.starts.succeeds();
        self.trace.push(if succeeds { Trace::Started(id) } else { Trace::StartFailed(id) });
        succeeds
    }

    /// `'EXIT'` of a living child.
    fn exit(&mut self, id: u64, is_abnormal: bool, now: Instant) {
        let record = self.find(id).expect("a child that exits");
        match record.sort.restart {
            Restart::Permanent => self.restart(id, now),
            Restart::Transient if is_abnormal => self.restart(id, now),
            Restart::Transient | Restart::Temporary => {
                self.del_child(id);
                self.do_auto_shutdown(record);
            }
        }
    }

    fn del_child(&mut self, id: u64) {
        self.set_pid(id, Pid::Undefined);
        self.children.retain(|record| record.id != id || record.sort.restart != Restart::Temporary);
    }

    fn do_auto_shutdown(&mut self, record: Record) {
        if !record.sort.is_significant {
            return;
        }
        let ends = match self.setup.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => {
                !self.children.iter().any(|other| other.sort.is_significant && other.pid != Pid::Undefined)
            }
        };
        if ends {
            self.shutdown();
        }
    }

    fn restart(&mut self, id: u64, now: Instant) {
        let period = Duration::from_millis(self.setup.period_ms);
        self.restarts.retain(|at| now.duration_since(*at) <= period);
        self.restarts.push(now);
        if self.restarts.len() > self.setup.intensity as usize {
            self.del_child(id);
            self.shutdown();
            return;
        }
        match self.setup.strategy {
            Strategy::OneForOne => {
                let pid = if self.do_start_child(id) { Pid::Alive } else { Pid::Restarting };
                self.set_pid(id, pid);
                if pid == Pid::Restarting {
                    self.casts.push_back(id);
                }
            }
            Strategy::OneForAll => self.restart_multiple(id, 0),
            Strategy::RestForOne => {
                let first = self.children.iter().position(|record| record.id == id).expect("it is there");
                self.restart_multiple(id, first);
            }
        }
    }

    fn restart_multiple(&mut self, id: u64, first: usize) {
        self.set_pid(id, Pid::Undefined);
        self.terminate_children(first);
        for index in first..self.children.len() {
            let id = self.children[index].id;
            if self.do_start_child(id) {
                self.set_pid(id, Pid::Alive);
            } else {
                self.set_pid(id, Pid::Restarting);
                self.casts.push_back(id);
                return;
            }
        }
    }

    fn terminate_children(&mut self, first: usize) {
        for record in self.children[first..].iter_mut().rev() {
            if record.pid == Pid::Alive {
                self.trace.push(Trace::Stopped(record.id));
            }
            record.pid = Pid::Undefined;
        }
        let before: Vec<u64> = self.children[..first].iter().map(|record| record.id).collect();
        self.children
            .retain(|record| before.contains(&record.id) || record.sort.restart != Restart::Temporary);
    }

    fn shutdown(&mut self) {
        self.terminate_children(0);
        self.trace.push(Trace::Over);
        self.is_over = true;
    }

    fn handle_cast(&mut self, now: Instant) {
        if let Some(id) = self.casts.pop_front()
            && self.find(id).is_some_and(|record| record.pid == Pid::Restarting)
        {
            self.restart(id, now);
        }
    }

    fn start_child(&mut self, sort: Sort) -> Answer {
        if !self.setup.is_valid(sort) {
            return Answer::Invalid;
        }
        let id = self.next_id;
        self.next_id += 1;
        if !self.do_start_child(id) {
            return Answer::NotStarted;
        }
        self.children.push(Record { id, sort, pid: Pid::Alive });
        Answer::Done
    }

    fn terminate_child(&mut self, id: u64) -> Answer {
        let Some(record) = self.find(id) else { return Answer::NotFound };
        if record.pid == Pid::Alive {
            self.trace.push(Trace::Stopped(id));
        }
        self.del_child(id);
        Answer::Done
    }

    fn restart_child(&mut self, id: u64) -> Answer {
        match self.find(id).map(|record| record.pid) {
            None => Answer::NotFound,
            Some(Pid::Alive) => Answer::Running,
            Some(Pid::Restarting) => Answer::Restarting,
            Some(Pid::Undefined) if self.do_start_child(id) => {
                self.set_pid(id, Pid::Alive);
                Answer::Done
            }
            Some(Pid::Undefined) => Answer::NotStarted,
        }
    }

    fn delete_child(&mut self, id: u64) -> Answer {
        match self.find(id).map(|record| record.pid) {
            None => Answer::NotFound,
            Some(Pid::Alive) => Answer::Running,
            Some(Pid::Restarting) => Answer::Restarting,
            Some(Pid::Undefined) => {
                self.children.retain(|record| record.id != id);
                Answer::Done
            }
        }
    }
}

// The plan, with a shell that does everything at once.

struct Ours {
    setup: Setup,
    state: State,
    next_key: u64,
    casts: VecDeque<Key>,
    starts: Starts,
    trace: Vec<Trace>,
    is_over: bool,
}

impl Ours {
    fn new(setup: &Setup) -> Self {
        let mut ours = Self {
            setup: setup.clone(),
            state: State {
                strategy: setup.strategy,
                auto_shutdown: setup.auto_shutdown,
                budget: Budget::new(setup.intensity, Duration::from_millis(setup.period_ms)),
                children: BTreeMap::new(),
            },
            next_key: 0,
            casts: VecDeque::new(),
            starts: Starts { outcomes: setup.starts.clone(), next: 0 },
            trace: Vec::new(),
            is_over: false,
        };
        for sort in &setup.children {
            ours.add(*sort);
        }
        ours
    }

    fn add(&mut self, sort: Sort) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        let child = Child {
            restart: sort.restart,
            is_significant: sort.is_significant,
            allowance: None,
            phase: Phase::Up(IfStartFails::Forget),
            is_owed: false,
        };
        self.state.children.insert(key, child);
        key
    }

    fn event(&mut self, event: Event) {
        let actions = plan(&mut self.state, event);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Stop(key) => self.trace.push(Trace::Stopped(key.0)),
                Action::End(key) => {
                    self.trace.push(Trace::Stopped(key.0));
                    actions.extend(plan(
                        &mut self.state,
                        Event::Exited { key, is_abnormal: false, at: Instant::now() },
                    ));
                }
                Action::Start(key) => {
                    self.state.up(key, IfStartFails::TryAgain);
                    if !self.start(key) {
                        actions = plan(&mut self.state, Event::StartFailed { key }).into();
                    }
                }
                Action::Wait(key) => actions.extend(plan(&mut self.state, Event::Due { key })),
                Action::TryAgain(key) => self.casts.push_back(key),
                Action::Close(_) | Action::Forget(_) => {}
                Action::Quarantine(_) => unreachable!("nobody has an allowance"),
                Action::GiveUp(_) | Action::ShutDown => {
                    self.is_over = true;
                    self.event(Event::Stop);
                    self.trace.push(Trace::Over);
                    return;
                }
            }
        }
    }

    fn start(&mut self, key: Key) -> bool {
        let succeeds = self.starts.succeeds();
        self.trace.push(if succeeds { Trace::Started(key.0) } else { Trace::StartFailed(key.0) });
        succeeds
    }

    fn start_child(&mut self, sort: Sort) -> Answer {
        if !self.setup.is_valid(sort) {
            return Answer::Invalid;
        }
        let key = self.add(sort);
        self.started_by_call(key, IfStartFails::Forget)
    }

    fn started_by_call(&mut self, key: Key, if_start_fails: IfStartFails) -> Answer {
        self.state.up(key, if_start_fails);
        if self.start(key) {
            return Answer::Done;
        }
        self.event(Event::StartFailed { key });
        Answer::NotStarted
    }

    fn call(&mut self, id: u64, what: Call) -> Answer {
        let key = Key(id);
        if !self.state.children.contains_key(&key) {
            return Answer::NotFound;
        }
        match (what, call(&mut self.state, key, what)) {
            (Call::Restart, Ok(actions)) => {
                assert_eq!(actions, [Action::Start(key)]);
                self.started_by_call(key, IfStartFails::StayDown)
            }
            (Call::Terminate | Call::Delete, Ok(actions)) => {
                self.perform(actions);
                Answer::Done
            }
            (Call::Release, _) => unreachable!("nobody is in quarantine"),
            (_, Err(Refusal::Running)) => Answer::Running,
            (_, Err(Refusal::Restarting)) => Answer::Restarting,
            (_, Err(Refusal::Quarantined | Refusal::NotQuarantined)) => unreachable!("as above"),
        }
    }

    /// The children as OTP's records would have them.
    fn records(&self) -> Vec<(u64, Pid)> {
        let pid = |phase| match phase {
            Phase::Up(_) => Pid::Alive,
            Phase::Down => Pid::Undefined,
            Phase::Retrying => Pid::Restarting,
            Phase::Ending | Phase::Occupied | Phase::Waiting { .. } | Phase::Quarantined => {
                unreachable!("over at once, or not used: {phase:?}")
            }
        };
        self.state.children.iter().map(|(key, child)| (key.0, pid(child.phase))).collect()
    }
}

fn restart() -> impl Generator<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

fn sort() -> impl Generator<Value = Sort> {
    (restart(), any::<bool>()).prop_map(|(restart, is_significant)| Sort { restart, is_significant })
}

fn step() -> impl Generator<Value = Step> {
    let child = || 0..10usize;
    prop_oneof![
        8 => (child(), prop::bool::weighted(0.7)).prop_map(|(child, is_abnormal)| Step::Exit { child, is_abnormal }),
        4 => Just(Step::Turn),
        1 => sort().prop_map(Step::Start),
        1 => child().prop_map(|child| Step::Terminate { child }),
        1 => child().prop_map(|child| Step::Restart { child }),
        1 => child().prop_map(|child| Step::Delete { child }),
        2 => (0..60u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

fn setup() -> impl Generator<Value = Setup> {
    let strategy =
        prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)];
    let auto_shutdown = prop_oneof![
        Just(AutoShutdown::Never),
        Just(AutoShutdown::AnySignificant),
        Just(AutoShutdown::AllSignificant)
    ];
    let starts = prop::collection::vec(prop::bool::weighted(0.75), 1..12);
    (strategy, auto_shutdown, 0..12u32, 1..100u64, prop::collection::vec(sort(), 0..7), starts).prop_map(
        |(strategy, auto_shutdown, intensity, period_ms, children, starts)| {
            let mut setup =
                Setup { strategy, auto_shutdown, intensity, period_ms, children: Vec::new(), starts };
            setup.children = children.into_iter().filter(|sort| setup.is_valid(*sort)).collect();
            setup
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_supervisor_does_what_otps_would_do(setup in setup(), steps in prop::collection::vec(step(), 0..60)) {
        let (mut otp, mut ours) = (Otp::new(&setup), Ours::new(&setup));
        let mut now = Instant::now();
        for step in steps {
            // Children by their place among all that ever were, so that some are gone.
            let id = |child: usize| child as u64 % otp.next_id.max(1);
            match step {
                Step::Exit { child, is_abnormal } => {
                    let id = id(child);
                    if otp.find(id).is_some_and(|record| record.pid == Pid::Alive) {
                        otp.exit(id, is_abnormal, now);
                        ours.event(Event::Exited { key: Key(id), is_abnormal, at: now });
                    }
                }
                Step::Turn => {
                    otp.handle_cast(now);
                    if let Some(key) = ours.casts.pop_front() {
                        ours.event(Event::TryAgain { key, at: now });
                    }
                }
                Step::Start(sort) => prop_assert_eq!(ours.start_child(sort), otp.start_child(sort)),
                Step::Terminate { child } => {
                    let id = id(child);
                    prop_assert_eq!(ours.call(id, Call::Terminate), otp.terminate_child(id));
                }
                Step::Restart { child } => {
                    let id = id(child);
                    prop_assert_eq!(ours.call(id, Call::Restart), otp.restart_child(id));
                }
                Step::Delete { child } => {
                    let id = id(child);
                    prop_assert_eq!(ours.call(id, Call::Delete), otp.delete_child(id));
                }
                Step::Pass { ms } => now += Duration::from_millis(ms),
            }
            prop_assert_eq!(&ours.trace, &otp.trace);
            prop_assert_eq!(ours.is_over, otp.is_over);
            if otp.is_over {
                break;
            }
            let records: Vec<_> = otp.children.iter().map(|record| (record.id, record.pid)).collect();
            prop_assert_eq!(ours.records(), records);
        }
    }
}
