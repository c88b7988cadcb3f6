//! Laws of the plan, over generated supervisors and histories. What it shares with OTP is in `otp.rs`.

use std::time::Duration;

use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_assert_ne, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

const PERIOD: Duration = Duration::from_secs(5);

fn restart() -> impl Generator<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

fn any_strategy() -> impl Generator<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

const UP: Phase = Phase::Up(IfStartFails::TryAgain);

fn child(restart: Restart, phase: Phase) -> Child {
    Child { restart, is_significant: false, allowance: None, phase, is_owed: false }
}

fn state_of(strategy: Strategy, intensity: u32, children: impl IntoIterator<Item = Child>) -> State {
    State {
        strategy,
        auto_shutdown: AutoShutdown::Never,
        budget: Budget::new(intensity, PERIOD),
        children: (0..).map(Key).zip(children).collect(),
    }
}

fn state() -> impl Generator<Value = State> {
    (any_strategy(), 0..4u32, prop::collection::vec((restart(), any::<bool>()), 1..8)).prop_map(
        |(strategy, intensity, children)| {
            let children = children
                .into_iter()
                .map(|(restart, is_up)| child(restart, if is_up { UP } else { Phase::Down }));
            state_of(strategy, intensity, children)
        },
    )
}

fn exit_of(state: &mut State, key: Key, is_abnormal: bool) -> Vec<Action> {
    plan(state, Event::Exited { key, is_abnormal, at: Instant::now() })
}

/// Both halves of what an exit leads to, with nothing in between.
fn whole(state: &mut State, key: Key, is_abnormal: bool) -> Vec<Action> {
    let mut actions = exit_of(state, key, is_abnormal);
    if let Some(Action::Wait(key)) = actions.last().copied() {
        actions.pop();
        actions.extend(plan(state, Event::Due { key }));
    }
    actions
}

fn pick(index: prop::sample::Index, state: &State) -> Key {
    let keys: Vec<Key> = state.children.keys().copied().collect();
    *index.get(&keys)
}

fn stops(actions: &[Action]) -> Vec<Key> {
    actions.iter().filter_map(|a| if let Action::Stop(key) = a { Some(*key) } else { None }).collect()
}

fn starts(actions: &[Action]) -> Vec<Key> {
    actions.iter().filter_map(|a| if let Action::Start(key) = a { Some(*key) } else { None }).collect()
}

proptest! {
    #[test]
    fn stops_run_against_the_start_order_and_before_the_starts_along_it(
        state in state(), index: prop::sample::Index, is_abnormal: bool,
    ) {
        let mut state = state;
        let key = pick(index, &state);
        let actions = whole(&mut state, key, is_abnormal);
        let (stops, starts) = (stops(&actions), starts(&actions));
        prop_assert!(stops.is_sorted_by(|a, b| a > b));
        prop_assert!(starts.is_sorted_by(|a, b| a < b));
        let last_stop = actions.iter().rposition(|a| matches!(a, Action::Stop(_)));
        let first_start = actions.iter().position(|a| matches!(a, Action::Start(_)));
        if let (Some(stop), Some(start)) = (last_stop, first_start) {
            prop_assert!(stop < start);
        }
    }

    #[test]
    fn only_what_runs_is_stopped_and_nothing_runs_that_is_started(
        state in state(), index: prop::sample::Index, is_abnormal: bool,
    ) {
        let before = state.clone();
        let mut state = state;
        let key = pick(index, &state);
        let actions = whole(&mut state, key, is_abnormal);
        for stopped in stops(&actions) {
            prop_assert_eq!(before.children[&stopped].phase, UP);
            prop_assert_ne!(stopped, key);
        }
        for started in starts(&actions) {
            prop_assert_eq!(state.children[&started].phase, Phase::Down);
        }
    }

    #[test]
    fn a_strategy_touches_its_range_and_no_more(state in state(), index: prop::sample::Index) {
        let mut state = state;
        state.budget = Budget::new(100, PERIOD);
        let before = state.clone();
        let key = pick(index, &state);
        let actions = whole(&mut state, key, true);
        let child = &before.children[&key];
        if child.phase == Phase::Down {
            prop_assert!(actions.is_empty());
        } else if child.restart == Restart::Temporary {
            prop_assert_eq!(actions, vec![Action::Forget(key)]);
        } else {
            let affected = |other: Key| match before.strategy {
                Strategy::OneForOne => other == key,
                Strategy::OneForAll => true,
                Strategy::RestForOne => other >= key,
            };
            for (other, was) in &before.children {
                let survives = was.restart != Restart::Temporary;
                let runs = was.phase == UP;
                let touched = affected(*other);
                prop_assert_eq!(actions.contains(&Action::Stop(*other)), touched && runs && *other != key);
                prop_assert_eq!(actions.contains(&Action::Start(*other)), touched && survives);
                prop_assert_eq!(actions.contains(&Action::Forget(*other)), touched && !survives);
                prop_assert_eq!(state.children.contains_key(other), survives || !touched);
            }
        }
    }

    #[test]
    fn a_stop_ends_all_that_runs_in_reverse_and_starts_nothing(state in state()) {
        let mut state = state;
        let running: Vec<Key> = state.children.iter().rev()
            .filter(|(_, child)| child.phase == UP).map(|(key, _)| *key).collect();
        let actions = plan(&mut state, Event::Stop);
        prop_assert_eq!(stops(&actions), running);
        prop_assert_eq!(stops(&actions).len(), actions.len());
        prop_assert!(state.children.values().all(|child| child.phase == Phase::Down));
    }

    #[test]
    fn a_failed_start_charges_again_until_the_budget_is_gone(strategy in any_strategy(), intensity in 0..5u32) {
        let mut state = state_of(strategy, intensity, [child(Restart::Permanent, UP), child(Restart::Permanent, UP)]);
        let key = Key(0);
        let mut actions = whole(&mut state, key, true);
        let mut attempts = 0;
        while actions.contains(&Action::Start(key)) {
            attempts += 1;
            state.up(key, IfStartFails::TryAgain);
            prop_assert_eq!(plan(&mut state, Event::StartFailed { key }), vec![Action::TryAgain(key)]);
            actions = plan(&mut state, Event::TryAgain { key, at: Instant::now() });
            if actions.last() == Some(&Action::Wait(key)) {
                actions = plan(&mut state, Event::Due { key });
            }
        }
        prop_assert_eq!(attempts, intensity);
        prop_assert_eq!(actions.last(), Some(&Action::GiveUp(key)));
    }

    #[test]
    fn nothing_starts_before_it_is_due_and_then_all_that_was_stopped_does(
        strategy in any_strategy(), count in 1..6usize, index: prop::sample::Index,
    ) {
        let mut state = state_of(strategy, 1, vec![child(Restart::Permanent, UP); count]);
        let key = pick(index, &state);
        let first = exit_of(&mut state, key, true);
        prop_assert!(starts(&first).is_empty());
        prop_assert_eq!(first.last(), Some(&Action::Wait(key)));
        let mut down = stops(&first);
        down.push(key);
        down.sort();
        prop_assert_eq!(starts(&plan(&mut state, Event::Due { key })), down);
        prop_assert_eq!(plan(&mut state, Event::Due { key }), vec![], "it is due once");
    }

    #[test]
    fn a_restart_waits_for_every_place_it_needs(count in 2..6usize, index: prop::sample::Index) {
        let mut state = state_of(Strategy::OneForAll, 1, vec![child(Restart::Permanent, UP); count]);
        let key = pick(index, &state);
        let stopped = stops(&exit_of(&mut state, key, true));
        for stuck in &stopped {
            plan(&mut state, Event::Stuck { key: *stuck });
        }
        prop_assert_eq!(plan(&mut state, Event::Due { key }), vec![]);
        let (last, others) = stopped.split_last().expect("there are siblings");
        for stuck in others {
            prop_assert!(exit_of(&mut state, *stuck, true).is_empty());
        }
        prop_assert_eq!(starts(&exit_of(&mut state, *last, true)).len(), count);
    }
}

#[test]
fn who_is_terminated_while_a_restart_waits_stays_down_and_the_others_start() {
    for terminated in [0, 1] {
        let mut state = state_of(Strategy::OneForAll, 1, vec![child(Restart::Permanent, UP); 3]);
        exit_of(&mut state, Key(1), true);
        let mut actions = call(&mut state, Key(terminated), Call::Terminate).expect("it can be terminated");
        assert_eq!(actions.remove(0), Action::Close(Key(terminated)));
        actions.extend(plan(&mut state, Event::Due { key: Key(1) }));
        let others: Vec<Action> =
            (0..3).filter(|key| *key != terminated).map(|key| Action::Start(Key(key))).collect();
        assert_eq!(actions, others);
    }
}

#[test]
fn a_stuck_child_that_is_terminated_is_not_waited_for() {
    let mut state = state_of(Strategy::OneForAll, 1, vec![child(Restart::Permanent, UP); 3]);
    exit_of(&mut state, Key(1), true);
    plan(&mut state, Event::Stuck { key: Key(0) });
    assert!(plan(&mut state, Event::Due { key: Key(1) }).is_empty());
    let actions = call(&mut state, Key(0), Call::Terminate).expect("it can be terminated");
    assert_eq!(actions, [Action::Start(Key(1)), Action::Start(Key(2))]);
    assert_eq!(exit_of(&mut state, Key(0), true), [Action::Close(Key(0))]);
}

fn with_allowance(strategy: Strategy, restarts: u32) -> State {
    let mut state = state_of(strategy, 100, vec![child(Restart::Permanent, UP); 3]);
    state.children.get_mut(&Key(1)).expect("it is there").allowance = Some(Budget::new(restarts, PERIOD));
    state
}

#[test]
fn a_child_has_its_allowance_and_no_more_and_its_siblings_are_left_alone() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut state = with_allowance(strategy, 2);
        for _ in 0..2 {
            for started in starts(&whole(&mut state, Key(1), true)) {
                state.up(started, IfStartFails::TryAgain);
            }
        }
        assert_eq!(exit_of(&mut state, Key(1), true), [Action::Quarantine(Key(1))]);
        assert_eq!(state.children[&Key(0)].phase, UP);
        assert!(matches!(call(&mut state, Key(1), Call::Restart), Err(Refusal::Quarantined)));
        assert!(matches!(call(&mut state, Key(0), Call::Release), Err(Refusal::NotQuarantined)));
    }
}

#[test]
fn quarantine_charges_nobody_and_a_release_gives_the_whole_allowance_back() {
    let mut state = with_allowance(Strategy::OneForOne, 1);
    state.budget = Budget::new(2, PERIOD);
    whole(&mut state, Key(1), true);
    state.up(Key(1), IfStartFails::TryAgain);
    assert_eq!(exit_of(&mut state, Key(1), true), [Action::Quarantine(Key(1))]);
    assert_eq!(call(&mut state, Key(1), Call::Release), Ok(vec![Action::Start(Key(1))]));
    state.up(Key(1), IfStartFails::Quarantine);
    assert_eq!(exit_of(&mut state, Key(1), true), [Action::Wait(Key(1))]);
}

#[test]
fn a_child_in_quarantine_is_not_started_with_its_siblings() {
    let mut state = with_allowance(Strategy::OneForAll, 0);
    assert_eq!(exit_of(&mut state, Key(1), true), [Action::Quarantine(Key(1))]);
    assert_eq!(starts(&whole(&mut state, Key(0), true)), [Key(0), Key(2)]);
}

#[test]
fn siblings_that_were_stopped_start_when_the_one_they_wait_for_is_in_quarantine() {
    let mut state = with_allowance(Strategy::OneForAll, 1);
    let key = Key(1);
    let actions = whole(&mut state, key, true);
    assert_eq!(starts(&actions), [Key(0), key, Key(2)]);
    state.up(Key(0), IfStartFails::TryAgain);
    state.up(key, IfStartFails::TryAgain);
    plan(&mut state, Event::StartFailed { key });
    let actions = plan(&mut state, Event::TryAgain { key, at: Instant::now() });
    assert_eq!(actions, [Action::Quarantine(key), Action::Start(Key(2))]);
}

#[test]
fn a_release_that_fails_leaves_the_child_in_quarantine() {
    let mut state = with_allowance(Strategy::OneForOne, 0);
    exit_of(&mut state, Key(1), true);
    assert_eq!(call(&mut state, Key(1), Call::Release), Ok(vec![Action::Start(Key(1))]));
    state.up(Key(1), IfStartFails::Quarantine);
    assert_eq!(plan(&mut state, Event::StartFailed { key: Key(1) }), [Action::Quarantine(Key(1))]);
    assert_eq!(state.children[&Key(1)].phase, Phase::Quarantined);
}

#[test]
fn a_significant_child_in_quarantine_has_not_ended_for_good() {
    let mut state = with_allowance(Strategy::OneForOne, 0);
    state.auto_shutdown = AutoShutdown::AllSignificant;
    for key in [Key(0), Key(1)] {
        let child = state.children.get_mut(&key).expect("it is there");
        (child.restart, child.is_significant) = (Restart::Transient, true);
    }
    assert_eq!(exit_of(&mut state, Key(1), true), [Action::Quarantine(Key(1))]);
    assert_eq!(exit_of(&mut state, Key(0), false), [Action::Close(Key(0))]);
}
