//! Laws of the plan, over generated supervisors and histories.

use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_assert_ne, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

fn restart() -> impl Generator<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

fn any_strategy() -> impl Generator<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

fn state() -> impl Generator<Value = State> {
    (any_strategy(), 0..4u32, prop::collection::vec((restart(), any::<bool>()), 1..8)).prop_map(
        |(strategy, intensity, children)| State {
            strategy,
            budget: Budget::new(intensity, Duration::from_secs(5)),
            children: children
                .into_iter()
                .enumerate()
                .map(|(index, (restart, runs))| {
                    let phase = if runs { Phase::Running } else { Phase::Down };
                    (Key(index as u64), Child { restart, phase })
                })
                .collect(),
        },
    )
}

fn exited(index: prop::sample::Index, state: &State, is_abnormal: bool) -> Event {
    let keys: Vec<Key> = state.children.keys().copied().collect();
    Event::Exited { key: *index.get(&keys), is_abnormal, at: Instant::now() }
}

fn key_of(event: Event) -> Key {
    match event {
        Event::Exited { key, .. } | Event::StartFailed { key, .. } => key,
        Event::Stop => unreachable!("generated events concern a child"),
    }
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
        let event = exited(index, &state, is_abnormal);
        let actions = plan(&mut state, event);
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
        let event = exited(index, &state, is_abnormal);
        let actions = plan(&mut state, event);
        for key in stops(&actions) {
            prop_assert_eq!(before.children[&key].phase, Phase::Running);
            prop_assert_ne!(key, key_of(event));
        }
        for key in starts(&actions) {
            prop_assert_eq!(state.children[&key].phase, Phase::Down);
        }
    }

    #[test]
    fn a_strategy_touches_its_range_and_no_more(state in state(), index: prop::sample::Index) {
        let mut state = state;
        state.budget = Budget::new(100, Duration::from_secs(5));
        let before = state.clone();
        let event = exited(index, &state, true);
        let key = key_of(event);
        let actions = plan(&mut state, event);
        let child = before.children[&key];
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
                let runs = was.phase == Phase::Running;
                let touched = affected(*other);
                prop_assert_eq!(actions.contains(&Action::Stop(*other)), touched && runs && *other != key);
                prop_assert_eq!(actions.contains(&Action::Start(*other)), touched && survives);
                prop_assert_eq!(actions.contains(&Action::Forget(*other)), touched && !survives);
                prop_assert_eq!(state.children.contains_key(other), survives || !touched);
            }
        }
    }

    #[test]
    fn a_transient_child_is_restarted_after_an_abnormal_end_only(
        strategy in any_strategy(), is_abnormal: bool,
    ) {
        let child = Child { restart: Restart::Transient, phase: Phase::Running };
        let mut state = State {
            strategy,
            budget: Budget::new(1, Duration::from_secs(5)),
            children: BTreeMap::from([(Key(0), child)]),
        };
        let actions = plan(&mut state, Event::Exited { key: Key(0), is_abnormal, at: Instant::now() });
        let expected = if is_abnormal { Action::Start(Key(0)) } else { Action::Close(Key(0)) };
        prop_assert_eq!(actions, vec![expected]);
    }

    #[test]
    fn giving_up_stops_all_that_runs_and_starts_nothing(state in state(), index: prop::sample::Index) {
        let mut state = state;
        state.budget = Budget::new(0, Duration::from_secs(5));
        let before = state.clone();
        let event = exited(index, &state, true);
        let actions = plan(&mut state, event);
        if actions.last() == Some(&Action::GiveUp) {
            let running = before.children.iter()
                .filter(|(key, child)| child.phase == Phase::Running && **key != key_of(event))
                .map(|(key, _)| *key).rev().collect::<Vec<_>>();
            prop_assert_eq!(stops(&actions), running);
            prop_assert!(starts(&actions).is_empty());
            prop_assert!(state.children.values().all(|child| child.phase == Phase::Down));
        }
    }

    #[test]
    fn the_budget_agrees_with_counting_all_restarts_in_the_period(
        intensity in 0..6u32, period_ms in 0..50u64, steps in prop::collection::vec(0..20u64, 1..60),
    ) {
        let start = Instant::now();
        let period = Duration::from_millis(period_ms);
        let mut budget = Budget::new(intensity, period);
        let mut all = Vec::new();
        let mut now = start;
        for step in steps {
            now += Duration::from_millis(step);
            all.push(now);
            let within = all.iter().filter(|at| now.duration_since(**at) <= period).count();
            prop_assert_eq!(budget.charge(now), within as u64 <= u64::from(intensity));
        }
    }

    #[test]
    fn a_failed_start_charges_again_until_the_budget_is_gone(strategy in any_strategy(), intensity in 0..5u32) {
        let child = Child { restart: Restart::Permanent, phase: Phase::Running };
        let mut state = State {
            strategy,
            budget: Budget::new(intensity, Duration::from_secs(5)),
            children: BTreeMap::from([(Key(0), child), (Key(1), child)]),
        };
        let at = Instant::now();
        let mut actions = plan(&mut state, Event::Exited { key: Key(0), is_abnormal: true, at });
        let mut attempts = 0;
        while actions.contains(&Action::Start(Key(0))) {
            attempts += 1;
            actions = plan(&mut state, Event::StartFailed { key: Key(0), at });
        }
        prop_assert_eq!(attempts, intensity);
        prop_assert_eq!(actions.last(), Some(&Action::GiveUp));
    }
}
