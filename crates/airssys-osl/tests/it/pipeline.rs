//! Layers before the gate, attempts behind it, batches and chains: none of them is a way around the decision.

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{
    Access, Answer, Blocking, BlockingError, Denial, Ended, Ending, Files, FilesError, Gate, Layer,
    LayerRefusal, LimitError, Middleware, Name, Operation, Pipeline, PipelineError, PipelineOptions, Policy,
    Prepared, Quota, QuotaOptions, RateLimit, Redaction, Refusal, Refused, Retry, Root, Subject,
    TransformError,
};

use crate::audit::{gate_by, records};

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
own = "send"
names = ["team/**"]
[[subject.deny]]
own = "send"
names = ["team/boss"]
[[subject.allow]]
files = ["d:in/**"]
verbs = ["read"]
[[subject.allow]]
files = ["d:out/**"]
[[subject]]
name = "other"
[[subject.allow]]
own = "send"
names = ["team/**"]
"#;

/// Far longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Operation, Clone)]
#[operation(name = "test.send")]
struct Send {
    #[access(own = "send")]
    to: Name,
}

struct World {
    folder: tempfile::TempDir,
    gate: Gate,
    effects: Arc<AtomicU64>,
}

impl World {
    fn new(layers: impl IntoIterator<Item = Layer>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
        let gate = gate_by(POLICY, &folder.path().join("log"), options).with_layers(layers);
        Self { folder, gate, effects: Arc::default() }
    }

    /// Sends, and counts it. Says why not.
    fn send(&self, to: &str) -> Result<(), Refusal> {
        let permit = self.gate.admit(&tool(), send(to)).map_err(|denied| denied.why)?;
        permit.perform(|_| Ok::<_, Infallible>(self.effects.fetch_add(1, Ordering::SeqCst))).unwrap();
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.effects.load(Ordering::SeqCst)
    }

    /// All records, when everything that writes is gone.
    fn records(self) -> Vec<serde_json::Value> {
        drop(self.gate);
        records(&self.folder.path().join("log"))
    }

    fn pipeline(&self, within: Duration) -> Pipeline {
        Pipeline::new(self.gate.clone(), PipelineOptions { within, ..PipelineOptions::default() })
    }
}

fn tool() -> Subject {
    Subject::parse("tool").unwrap()
}

fn send(to: &str) -> Prepared<Send> {
    Prepared::of(Send { to: Name::parse(to).unwrap() })
}

fn layer_refusal(why: Refusal) -> LayerRefusal {
    match why {
        Refusal::Layer(refusal) => *refusal,
        other => panic!("{other:?}"),
    }
}

/// A layer that is a function of who wants what.
struct By<F>(&'static str, F);

impl<F> Middleware for By<F>
where
    F: for<'a> Fn(&'a Subject, &'a mut (dyn Operation + 'a)) -> Answer<'a> + std::marker::Send + Sync,
{
    fn name(&self) -> &str {
        self.0
    }

    fn before<'a>(&'a self, subject: &'a Subject, operation: &'a mut (dyn Operation + 'a)) -> Answer<'a> {
        (self.1)(subject, operation)
    }
}

fn by<F>(name: &'static str, before: F) -> By<F>
where
    F: for<'a> Fn(&'a Subject, &'a mut (dyn Operation + 'a)) -> Answer<'a> + std::marker::Send + Sync,
{
    By(name, before)
}

fn passes<'a>() -> Answer<'a> {
    Box::pin(std::future::ready(Ok(())))
}

fn readdressed<'a>(operation: &mut (dyn Operation + 'a), to: &str) -> bool {
    let sends = operation.as_any_mut().and_then(|any| any.downcast_mut::<Prepared<Send>>());
    sends.is_some_and(|sends| {
        sends.change(|send| send.to = Name::parse(to).unwrap());
        true
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn l3_no_choice_of_layers_turns_the_decision_or_the_records_off() {
    let limit = || RateLimit::new(NonZeroU32::new(100).unwrap(), Duration::from_secs(1));
    let choices: [(&str, Vec<Layer>); 4] = [
        ("none", vec![]),
        ("logging", vec![Layer::Log]),
        (
            "all",
            vec![
                Layer::Log,
                Layer::Redact(Redaction::of(["to"])),
                Layer::Limit(limit()),
                Layer::Quota(Quota::new(QuotaOptions::default())),
                Layer::custom(by("looks on", |_, _| passes())),
            ],
        ),
        ("all but logging", vec![Layer::Limit(limit()), Layer::custom(by("looks on", |_, _| passes()))]),
    ];
    let mut told = Vec::new();
    for (choice, layers) in choices {
        let world = World::new(layers);
        // Also when nobody listens to what is logged.
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
            assert!(matches!(world.send("team/boss"), Err(Refusal::Rule { .. })), "{choice}");
            assert!(matches!(world.send("else"), Err(Refusal::NoRule)), "{choice}");
            world.send("team/ann").unwrap();
        });
        assert_eq!(world.sent(), 1, "{choice}");
        let records = world.records();
        let part = |record: &serde_json::Value| {
            (
                record["kind"].clone(),
                record["rule"].clone(),
                record["accesses"].clone(),
                record["outcome"].clone(),
            )
        };
        told.push(records.iter().map(part).collect::<Vec<_>>());
    }
    assert_eq!(told[0].len(), 4);
    assert!(told.iter().all(|records| *records == told[0]), "{told:?}");
}

#[test]
fn l3_a_listener_that_panics_denies() {
    struct Panics;
    impl tracing::Subscriber for Panics {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            panic!("the listener is broken");
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let world = World::new([Layer::Log]);
    // With one dispatcher, what another thread meets first is asked of that thread's, which is none, and stays unheard.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    tracing::subscriber::with_default(Panics, || {
        let why = layer_refusal(world.send("team/ann").unwrap_err());
        assert!(matches!(why, LayerRefusal::Panicked { .. }), "{why:?}");
    });
    assert_eq!(world.sent(), 0);
    assert_eq!(world.records().len(), 1);
}

#[test]
fn l4_layers_come_in_the_order_in_which_they_stand_and_end_in_the_other() {
    struct Noting(&'static str, Arc<std::sync::Mutex<Vec<String>>>);
    impl Middleware for Noting {
        // All have one name, and still an order.
        fn name(&self) -> &str {
            "noting"
        }
        fn before<'a>(&'a self, subject: &'a Subject, operation: &'a mut (dyn Operation + 'a)) -> Answer<'a> {
            self.1.lock().unwrap().push(format!("{} {subject} {}", self.0, operation.name()));
            passes()
        }
        fn after(&self, ended: &Ended<'_>) {
            self.1.lock().unwrap().push(format!("{} {:?} {}", self.0, ended.ending, ended.seq));
        }
    }
    let noted = Arc::default();
    let noting = |name| Layer::custom(Noting(name, Arc::clone(&noted)));
    let world = World::new([noting("b"), noting("a")]);
    let outer = world.gate.with_layers([noting("c")]);
    outer.admit(&tool(), send("team/ann")).unwrap().perform(|_| Err::<(), _>("broken")).unwrap_err();
    let expected = [
        "c tool test.send",
        "b tool test.send",
        "a tool test.send",
        "a Failed 1",
        "b Failed 1",
        "c Failed 1",
    ];
    assert_eq!(*noted.lock().unwrap(), expected);
    noted.lock().unwrap().clear();
    // What is denied does not end, as it has not begun.
    outer.admit(&tool(), send("team/boss")).unwrap_err();
    drop(world.gate.admit(&tool(), send("team/ann")).unwrap());
    let expected = [
        "c tool test.send",
        "b tool test.send",
        "a tool test.send",
        "b tool test.send",
        "a tool test.send",
        "a Unknown 4",
        "b Unknown 4",
    ];
    assert_eq!(*noted.lock().unwrap(), expected);
}

#[test]
fn l4_a_layer_that_panics_denies_and_is_recorded() {
    let at_once = by("at once", |_, _| panic!("before it answers"));
    let later = by("later", |_, _| {
        Box::pin(async {
            tokio::task::yield_now().await;
            panic!("while it answers")
        })
    });
    let runtime = runtime();
    for (layer, name) in [(Layer::custom(at_once), "at once"), (Layer::custom(later), "later")] {
        let world = World::new([layer]);
        let denied = runtime.block_on(world.gate.admit_from_task(&tool(), send("team/ann"))).unwrap_err();
        assert_eq!(denied.operation.to.as_str(), "team/ann");
        assert!(matches!(layer_refusal(denied.why), LayerRefusal::Panicked { layer } if layer == name));
        let records = world.records();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0]["kind"], "denial");
        assert_eq!(records[0]["rule"], format!("layer {name} panicked"));
        assert_eq!(records[0]["denied"], "`own send team/ann`");
    }
}

#[test]
fn l4_a_layer_that_panics_after_the_effect_changes_nothing() {
    struct Falls;
    impl Middleware for Falls {
        fn name(&self) -> &str {
            panic!("has no name either")
        }
        fn before<'a>(&'a self, _: &'a Subject, _: &'a mut (dyn Operation + 'a)) -> Answer<'a> {
            passes()
        }
        fn after(&self, _: &Ended<'_>) {
            panic!("too late")
        }
    }
    let world = World::new([Layer::custom(Falls)]);
    world.send("team/ann").unwrap();
    assert_eq!(world.sent(), 1);
    let records = world.records();
    assert_eq!((records.len(), &records[1]["outcome"]), (2, &"done".into()));
}

#[test]
fn l4_a_layer_that_does_not_answer_in_time_denies_and_is_recorded() {
    let world = World::new([Layer::custom_within(
        by("asleep", |_, _| Box::pin(std::future::pending())),
        Duration::from_millis(20),
    )]);
    let denied = runtime().block_on(world.gate.admit_from_task(&tool(), send("team/ann"))).unwrap_err();
    assert!(matches!(layer_refusal(denied.why), LayerRefusal::TooSlow { .. }));
    // Where nobody waits it is not ready, and that is a denial as well.
    let why = layer_refusal(world.send("team/ann").unwrap_err());
    assert!(matches!(why, LayerRefusal::NotReady { .. }), "{why:?}");
    assert_eq!(world.sent(), 0);
    let records = world.records();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["rule"], "layer asleep did not answer within 20ms");
    assert_eq!(records[1]["rule"], "layer asleep has to be waited for: admit the operation from a task");
}

#[test]
fn l4_what_a_layer_passes_on_is_still_denied_by_the_next_and_by_the_policy() {
    let strict = by("strict", |_, _| Box::pin(std::future::ready(Err(Refused::because("not today")))));
    let world = World::new([Layer::custom(by("mild", |_, _| passes())), Layer::custom(strict)]);
    let why = layer_refusal(world.send("team/ann").unwrap_err());
    assert_eq!(why.to_string(), "layer strict: not today");
    let world = World::new([Layer::custom(by("mild", |_, _| passes()))]);
    assert!(matches!(world.send("team/boss"), Err(Refusal::Rule { .. })));
    assert_eq!(world.sent(), 0);
}

#[test]
fn l8_an_operation_that_a_layer_changes_is_decided_in_its_last_form() {
    let to = |to: &'static str| {
        Layer::custom(by("readdresses", move |_, operation| {
            assert!(readdressed(operation, to), "it can be changed");
            passes()
        }))
    };
    // From what is allowed to what is not, and the other way.
    let world = World::new([to("team/boss")]);
    assert!(matches!(world.send("team/ann"), Err(Refusal::Rule { .. })));
    assert_eq!(world.sent(), 0);
    let records = world.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["accesses"], serde_json::json!(["own send team/boss"]));
    let world = World::new([to("team/boss"), to("team/bob")]);
    let permit = world.gate.admit(&tool(), send("else")).unwrap();
    let performed = permit.perform(|send| Ok::<_, Infallible>(send.to.clone())).unwrap();
    assert_eq!(performed.as_str(), "team/bob", "what is performed is what was decided");
    assert_eq!(world.records()[0]["accesses"], serde_json::json!(["own send team/bob"]));
}

#[test]
fn l8_what_was_permitted_is_changed_by_no_layer_and_built_in_operations_by_none_at_all() {
    let world = World::new([Layer::custom(by("meddles", |_, operation| {
        let is_changed = readdressed(operation, "team/boss");
        let answer = if is_changed { Ok(()) } else { Err(Refused::because("it cannot be changed")) };
        Box::pin(std::future::ready(answer))
    }))]);
    let permit = World::new([]).gate.admit(&tool(), send("team/ann")).unwrap();
    assert_eq!(permit.operation().to.as_str(), "team/ann");
    drop(permit.withdraw());
    let root = Root::open(world.folder.path()).unwrap();
    let files = Files::new(world.gate.clone(), [(Name::parse("d").unwrap(), root)]);
    let Err(FilesError::Denied(denied)) = files.read(&tool(), "d:in/a", 10) else { panic!("it is denied") };
    assert_eq!(layer_refusal(denied.why).to_string(), "layer meddles: it cannot be changed");
}

#[test]
fn l9_more_proof_that_is_wanted_is_a_denial_until_it_is_there() {
    let has_proof = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = has_proof.clone();
    let world = World::new([Layer::custom(by("second factor", move |_, _| {
        let answer = match asked.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(Refused::because("more proof is needed")),
        };
        Box::pin(std::future::ready(answer))
    }))]);
    for _ in 0..3 {
        let why = layer_refusal(world.send("team/ann").unwrap_err());
        assert!(matches!(why, LayerRefusal::Custom { .. }), "{why:?}");
    }
    assert_eq!(world.sent(), 0);
    has_proof.store(true, Ordering::SeqCst);
    world.send("team/ann").unwrap();
    // Proof of one thing is no grant of another.
    assert!(matches!(world.send("team/boss"), Err(Refusal::Rule { .. })));
    let records = world.records();
    let kinds: Vec<_> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["denial", "denial", "denial", "intent", "outcome", "denial"]);
    assert_eq!(records[0]["rule"], "layer second factor: more proof is needed");
}

#[test]
fn a_rate_limit_holds_for_each_subject_and_for_every_operation_behind_the_gate() {
    let hour = Duration::from_secs(3600);
    let world = World::new([Layer::Limit(RateLimit::new(NonZeroU32::new(3).unwrap(), hour))]);
    let root = Root::open(world.folder.path()).unwrap();
    let files = Files::new(world.gate.clone(), [(Name::parse("d").unwrap(), root)]);
    fs::create_dir_all(world.folder.path().join("out")).unwrap();
    files.write(&tool(), "d:out/a", b"x").unwrap();
    world.send("team/ann").unwrap();
    // What is denied counts as well, so that nobody guesses for free.
    world.send("team/boss").unwrap_err();
    let Err(FilesError::Denied(denied)) = files.write(&tool(), "d:out/b", b"x") else {
        panic!("it is denied")
    };
    assert!(matches!(layer_refusal(denied.why), LayerRefusal::Limit(LimitError::TooOften { .. })));
    assert!(!world.folder.path().join("out/b").exists());
    world.gate.admit(&Subject::parse("other").unwrap(), send("team/ann")).unwrap().withdraw();
    drop(files);
    let records = world.records();
    let denial = records.iter().rfind(|record| record["kind"] == "denial").unwrap();
    assert_eq!(denial["rule"], "rate limit: at most 3 at once, and one more every 3600s");
}

#[test]
fn a_rate_limit_permits_again_when_time_has_passed() {
    let world = World::new([Layer::Limit(RateLimit::new(NonZeroU32::MIN, Duration::from_millis(300)))]);
    world.send("team/ann").unwrap();
    let began = Instant::now();
    until("one more is permitted", || world.send("team/ann").is_ok());
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

#[test]
fn a_rate_limit_counts_for_a_bounded_number_of_subjects_and_forgets_the_quiet() {
    let gate_by = |every| World::new([Layer::Limit(RateLimit::for_subjects(NonZeroU32::MIN, every, 2))]);
    let asks = |world: &World, name: &str| {
        world.gate.admit(&Subject::parse(name).unwrap(), send("team/ann")).map_err(|denied| denied.why)
    };
    let world = gate_by(Duration::from_secs(3600));
    for name in ["a", "b"] {
        assert!(matches!(asks(&world, name), Err(Refusal::NoRule)), "{name} is past the limit");
    }
    let why = layer_refusal(asks(&world, "tool").unwrap_err());
    assert!(matches!(why, LayerRefusal::Limit(LimitError::Subjects { max: 2 })), "{why:?}");
    let why = layer_refusal(asks(&world, "a").unwrap_err());
    assert!(matches!(why, LayerRefusal::Limit(LimitError::TooOften { .. })), "{why:?}");
    let world = gate_by(Duration::from_millis(100));
    for name in ["a", "b"] {
        assert!(matches!(asks(&world, name), Err(Refusal::NoRule)), "{name} is past the limit");
    }
    until("the quiet are forgotten", || asks(&world, "tool").is_ok());
}

#[derive(Debug)]
enum Trouble {
    Passing,
    Lasting,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} trouble")
    }
}

fn is_passing(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Passing => true,
        Trouble::Lasting => false,
    }
}

fn soon(attempts_max: u32) -> Retry {
    Retry {
        attempts_max,
        delay: Duration::from_millis(1),
        delay_max: Duration::from_millis(4),
        within: PATIENCE,
    }
}

#[test]
fn l10_each_attempt_is_decided_anew_and_recorded() {
    let world = World::new([]);
    let (gate, effects) = (world.gate.clone(), world.effects.clone());
    let effect = move |_: Prepared<Send>| {
        // The grant goes while the second attempt is under way.
        if effects.fetch_add(1, Ordering::SeqCst) == 1 {
            gate.replace_policy(Policy::empty());
        }
        async { Err::<(), _>(Trouble::Passing) }
    };
    let pipeline = world.pipeline(PATIENCE);
    let operation = send("team/ann");
    let ended = runtime().block_on(pipeline.run_again(&tool(), &operation, soon(10), effect, is_passing));
    assert!(matches!(ended, Err(PipelineError::Denied(_))), "{ended:?}");
    assert_eq!(world.sent(), 2, "the third attempt is denied");
    drop((ended, pipeline));
    let records = world.records();
    let told: Vec<_> = records.iter().map(|record| (record["kind"].clone(), record["of"].clone())).collect();
    assert_eq!(
        told,
        [
            ("intent".into(), ().into()),
            ("outcome".into(), 1.into()),
            ("intent".into(), ().into()),
            ("policy".into(), ().into()),
            ("outcome".into(), 3.into()),
            ("denial".into(), ().into()),
        ] as [(serde_json::Value, serde_json::Value); 6]
    );
    assert_eq!(records[1]["error"], "Passing trouble");
}

#[test]
fn l10_only_trouble_that_passes_is_tried_again_and_not_for_ever() {
    let world = World::new([]);
    let pipeline = world.pipeline(PATIENCE);
    let runtime = runtime();
    let tries = |retry: Retry, passing: u64, then: fn() -> Result<u64, Trouble>| {
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        let effect = move |_: Prepared<Send>| {
            let nth = counted.fetch_add(1, Ordering::SeqCst);
            async move { if nth < passing { Err(Trouble::Passing) } else { then() } }
        };
        let ended =
            runtime.block_on(pipeline.run_again(&tool(), &send("team/ann"), retry, effect, is_passing));
        (ended.is_ok(), count.load(Ordering::SeqCst))
    };
    assert_eq!(tries(soon(5), 2, || Ok(7)), (true, 3));
    assert_eq!(tries(soon(5), 1, || Err(Trouble::Lasting)), (false, 2));
    assert_eq!(tries(soon(3), 9, || Ok(7)), (false, 3));
    assert_eq!(tries(soon(0), 9, || Ok(7)), (false, 1), "one attempt is always made");
    assert_eq!(tries(soon(u32::MAX), u64::MAX, || Ok(7)), (false, 100), "and never more than a hundred");
    assert_eq!(tries(Retry { within: Duration::ZERO, ..soon(9) }, 9, || Ok(7)), (false, 1));
}

#[test]
fn l10_what_ends_after_nobody_waits_is_still_recorded() {
    let world = World::new([]);
    let pipeline = world.pipeline(Duration::from_millis(50));
    let runtime = runtime();
    let go = Arc::new(tokio::sync::Notify::new());
    let (waits, effects) = (go.clone(), world.effects.clone());
    let ended = runtime.block_on(pipeline.run(&tool(), send("team/ann"), move |_| async move {
        waits.notified().await;
        effects.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Trouble>(())
    }));
    assert!(matches!(ended, Err(PipelineError::TimedOut { .. })), "{ended:?}");
    assert_eq!(world.sent(), 0);
    // One whose caller is gone, too.
    let (waits, effects) = (go.clone(), world.effects.clone());
    let begun = Arc::new(tokio::sync::Notify::new());
    let begins = begun.clone();
    let patient = world.pipeline(PATIENCE);
    let caller = runtime.spawn(async move {
        let effect = move |_: Prepared<Send>| async move {
            begins.notify_one();
            waits.notified().await;
            effects.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(Trouble::Lasting)
        };
        patient.run(&tool(), send("team/ann"), effect).await
    });
    runtime.block_on(begun.notified());
    caller.abort();
    assert!(runtime.block_on(caller).unwrap_err().is_cancelled());
    until("both effects end", || {
        go.notify_waiters();
        world.sent() == 2
    });
    let log = world.folder.path().join("log");
    until("both ends are recorded", || {
        fs::read_dir(&log).unwrap().any(|entry| {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            text.matches("\"kind\":\"outcome\"").count() == 2
        })
    });
    drop((ended, pipeline, runtime));
    let mut outcomes: Vec<_> =
        world.records().iter().filter_map(|record| record["outcome"].as_str().map(str::to_owned)).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["done", "failed"], "and not unknown");
}

#[test]
fn l10_what_timed_out_is_not_tried_again() {
    let world = World::new([]);
    let effects = world.effects.clone();
    let effect = move |_: Prepared<Send>| {
        effects.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<(), Trouble>>()
    };
    let pipeline = world.pipeline(Duration::from_millis(100));
    let runtime = runtime();
    let ended = runtime.block_on(pipeline.run_again(&tool(), &send("team/ann"), soon(9), effect, |_| true));
    assert!(matches!(ended, Err(PipelineError::TimedOut { .. })), "{ended:?}");
    assert!(world.sent() <= 1);
    drop((ended, pipeline, runtime));
    let records = world.records();
    assert!(records.len() <= 2 && records.iter().all(|record| record["kind"] != "denial"), "{records:?}");
}

#[test]
fn effects_under_way_are_bounded_and_one_more_is_denied_on_record() {
    let world = World::new([]);
    let options = PipelineOptions { within: PATIENCE, effects_max: 1 };
    let pipeline = Pipeline::new(world.gate.clone(), options);
    let runtime = runtime();
    let (go, begun) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (waits, begins, first) = (go.clone(), begun.clone(), pipeline.clone());
    let running = runtime.spawn(async move {
        let effect = move |_: Prepared<Send>| async move {
            begins.notify_one();
            waits.notified().await;
            Ok::<_, Trouble>(())
        };
        first.run(&tool(), send("team/ann"), effect).await.is_ok()
    });
    runtime.block_on(begun.notified());
    let run = || {
        let effects = world.effects.clone();
        runtime.block_on(pipeline.run(&tool(), send("team/ann"), move |_| async move {
            effects.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Trouble>(())
        }))
    };
    let Err(PipelineError::Denied(denied)) = run() else { panic!("it is denied") };
    assert!(matches!(layer_refusal(denied.why), LayerRefusal::Full { max: 1 }));
    go.notify_one();
    assert!(runtime.block_on(running).unwrap());
    run().unwrap();
    assert_eq!(world.sent(), 1);
    drop((pipeline, runtime));
    let records = world.records();
    let denials: Vec<_> = records.iter().filter(|record| record["kind"] == "denial").collect();
    assert_eq!((denials.len(), &denials[0]["rule"]), (1, &"1 effects are under way already".into()));
}

#[test]
fn an_effect_that_panics_is_an_error_and_its_end_unknown() {
    let world = World::new([]);
    let pipeline = world.pipeline(PATIENCE);
    let runtime = runtime();
    let ended = runtime.block_on(pipeline.run(&tool(), send("team/ann"), |_| async {
        if true {
            panic!("in the middle");
        }
        Ok::<_, Trouble>(())
    }));
    assert!(matches!(ended, Err(PipelineError::Panicked)), "{ended:?}");
    drop((ended, pipeline, runtime));
    assert_eq!(world.records()[1]["outcome"], "unknown");
}

#[test]
fn l11_a_batch_with_one_denied_operation_permits_none_and_is_one_record() {
    let world = World::new([]);
    let all = |to: &[&str]| to.iter().map(|to| send(to)).collect::<Vec<_>>();
    for (place, to) in [
        (0, &["team/boss", "team/ann", "team/bob"][..]),
        (1, &["team/ann", "team/boss", "team/bob"]),
        (2, &["team/ann", "team/bob", "team/boss"]),
    ] {
        let denied = world.gate.admit_all(&tool(), all(to)).unwrap_err();
        assert_eq!(denied.access, Denial::Access(Access::parse("own send team/boss").unwrap()));
        assert!(matches!(denied.why, Refusal::Rule { .. }));
        let given_back: Vec<_> = denied.operation.iter().map(|send| send.to.as_str()).collect();
        assert_eq!(given_back, to, "denied at {place}");
    }
    let permits = world.gate.admit_all(&tool(), all(&["team/ann", "team/bob"])).unwrap();
    for permit in permits {
        permit.perform(|_| Ok::<_, Infallible>(world.effects.fetch_add(1, Ordering::SeqCst))).unwrap();
    }
    assert_eq!(world.sent(), 2);
    let records = world.records();
    let kinds: Vec<_> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["denial", "denial", "denial", "intent", "intent", "outcome", "outcome"]);
    assert_eq!(
        (&records[0]["batch_len"], &records[0]["denied"]),
        (&3.into(), &"`own send team/boss`".into())
    );
}

#[test]
fn l11_a_policy_that_is_replaced_while_the_layers_look_decides_the_batch() {
    let world = World::new([]);
    let gate = world.gate.clone();
    let revokes = by("revokes", move |_, _| {
        gate.replace_policy(Policy::empty());
        passes()
    });
    let gate = world.gate.with_layers([Layer::custom(revokes)]);
    let denied = gate.admit_all(&tool(), vec![send("team/ann")]).unwrap_err();
    assert!(matches!(denied.why, Refusal::NoRule), "{:?}", denied.why);
    assert!(world.gate.admit(&tool(), send("team/ann")).is_err());
}

/// Says other accesses each time it is asked.
struct Shifty([Access; 2], AtomicU64);

impl Operation for Shifty {
    fn name(&self) -> &'static str {
        "test.shifty"
    }

    fn accesses(&self) -> &[Access] {
        let asked = self.1.fetch_add(1, Ordering::SeqCst);
        std::slice::from_ref(&self.0[usize::from(asked > 0)])
    }
}

#[test]
fn l11_what_is_decided_of_a_batch_is_what_is_recorded_of_it() {
    let shifty = |first: &str, then: &str| {
        Shifty([Access::parse(first).unwrap(), Access::parse(then).unwrap()], AtomicU64::new(0))
    };
    let world = World::new([]);
    let both = vec![
        shifty("own send team/ann", "own send team/boss"),
        shifty("own send team/bob", "own send team/boss"),
    ];
    drop(world.gate.admit_all(&tool(), both).unwrap());
    drop(world.gate.admit_all(&tool(), vec![shifty("own send team/boss", "own send team/ann")]).unwrap_err());
    let records = world.records();
    assert_eq!(records[0]["accesses"], serde_json::json!(["own send team/ann"]));
    assert_eq!(records[1]["accesses"], serde_json::json!(["own send team/bob"]));
    let denial = records.iter().find(|record| record["kind"] == "denial").unwrap();
    assert_eq!(denial["accesses"], serde_json::json!(["own send team/boss"]));
}

#[test]
fn a_rate_over_longer_than_a_clock_counts_is_no_looser_and_panics_nowhere() {
    let most = NonZeroU32::MAX;
    for every in [Duration::MAX, Duration::from_secs(24 * 60 * 60)] {
        let world = World::new([Layer::Limit(RateLimit::new(most, every))]);
        world.send("team/ann").unwrap();
    }
    let world = World::new([Layer::Limit(RateLimit::new(NonZeroU32::MIN, Duration::MAX))]);
    world.send("team/ann").unwrap();
    assert!(world.send("team/ann").is_err());
}

#[test]
fn l11_a_batch_that_a_layer_refuses_in_the_middle_holds_nothing() {
    let quota = Quota::new(QuotaOptions { operations_max: 2, ..QuotaOptions::default() });
    let world = World::new([Layer::Quota(quota.clone())]);
    let all = |len: usize| std::iter::repeat_with(|| send("team/ann")).take(len).collect::<Vec<_>>();
    let denied = world.gate.admit_all(&tool(), all(3)).unwrap_err();
    assert!(matches!(layer_refusal(denied.why), LayerRefusal::Quota(_)));
    assert_eq!(quota.usage(&tool()).operations_reserved, 0);
    assert_eq!(world.gate.admit_all(&tool(), all(2)).unwrap().len(), 2);
    assert_eq!(quota.usage(&tool()).operations, 2, "dropped, their ends are unknown");
}

#[test]
fn l11_a_batch_is_bounded_and_one_of_nothing_is_nothing() {
    let world = World::new([]);
    let all = |len: usize| std::iter::repeat_with(|| send("team/ann")).take(len).collect::<Vec<_>>();
    let permits = world.gate.admit_all(&tool(), all(1024)).unwrap();
    assert_eq!(permits.len(), 1024);
    permits.into_iter().for_each(|permit| drop(permit.withdraw()));
    let denied = world.gate.admit_all(&tool(), all(1025)).unwrap_err();
    assert!(matches!(denied.why, Refusal::Batch { len: 1025, max: 1024 }), "{:?}", denied.why);
    assert_eq!(denied.operation.len(), 1025);
    assert!(world.gate.admit_all(&tool(), all(0)).unwrap().is_empty());
    let records = world.records();
    assert_eq!(records.len(), 2 * 1024 + 1);
    assert_eq!(records[2048]["kind"], "denial");
}

fn files() -> (World, Files) {
    let world = World::new([]);
    let root = world.folder.path().join("root");
    for folder in ["in", "out"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("in/a"), "alpha").unwrap();
    let files = Files::new(world.gate.clone(), [(Name::parse("d").unwrap(), Root::open(&root).unwrap())]);
    (world, files)
}

#[derive(Debug, thiserror::Error)]
#[error("it is no good")]
struct NoGood;

fn louder(bytes: Vec<u8>) -> Result<Vec<u8>, NoGood> {
    Ok(bytes.to_ascii_uppercase())
}

#[test]
fn a_transformation_reads_makes_and_writes_through_the_gate() {
    let (world, files) = files();
    files.transform(&tool(), "d:in/a", "d:out/a", 100, louder).unwrap();
    assert_eq!(fs::read(world.folder.path().join("root/out/a")).unwrap(), b"ALPHA");
    let too_large = files.transform(&tool(), "d:in/a", "d:out/b", 4, louder);
    assert!(matches!(too_large, Err(TransformError::Read(FilesError::Failed(_)))), "{too_large:?}");
    let no_good = files.transform(&tool(), "d:in/a", "d:out/b", 100, |_| Err(NoGood));
    assert!(matches!(no_good, Err(TransformError::Transform(NoGood))), "{no_good:?}");
    let no_folder = files.transform(&tool(), "d:in/a", "d:out/none/b", 100, louder);
    assert!(matches!(no_folder, Err(TransformError::Write(FilesError::Failed(_)))), "{no_folder:?}");
    let no_path = files.transform(&tool(), "d:in/a", "d:../b", 100, louder);
    assert!(matches!(no_path, Err(TransformError::Refused(FilesError::Path { .. }))), "{no_path:?}");
    assert!(!world.folder.path().join("root/out/b").exists());
    drop(files);
    let records = world.records();
    assert_eq!(records.len(), 17, "each step has its two records, and what is no path has one");
    assert_eq!((&records[16]["kind"], &records[16]["operation"]), (&"denial".into(), &"fs.write".into()));
    assert_eq!(records[7]["error"], "it was withdrawn before it began");
}

#[test]
fn a20_a_transformation_is_decided_on_both_sides_before_anything_is_read() {
    let (world, files) = files();
    for (from, to, denied_access) in
        [("d:in/a", "d:in/b", "create d:in/b"), ("d:else/a", "d:out/b", "read d:else/a")]
    {
        let ended =
            files.transform(&tool(), from, to, 100, |_| -> Result<_, NoGood> { panic!("it was read") });
        let Err(TransformError::Refused(FilesError::Denied(denied))) = ended else { panic!("{ended:?}") };
        assert_eq!(denied.access, Denial::Access(Access::parse(denied_access).unwrap()));
        assert!(denied.operation.accesses().contains(&Access::parse(denied_access).unwrap()));
    }
    drop(files);
    let records = world.records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["kind"] == "denial"), "{records:?}");
}

#[test]
fn a_program_without_tasks_waits_for_attempts() {
    let world = World::new([]);
    let pipeline = world.pipeline(PATIENCE);
    let blocking = Blocking::new().unwrap();
    let attempt = |to: &str| {
        let effects = world.effects.clone();
        let effect = move |_: Prepared<Send>| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            effects.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Trouble>(7)
        };
        blocking.wait(pipeline.run(&tool(), send(to), effect)).unwrap()
    };
    assert_eq!(attempt("team/ann").unwrap(), 7);
    assert!(matches!(attempt("team/boss"), Err(PipelineError::Denied(_))));
    assert_eq!(world.sent(), 1);
    // Inside a task it says so instead of panicking.
    let inside = runtime().block_on(async { blocking.wait(async {}) });
    assert!(matches!(inside, Err(BlockingError::InTask)), "{inside:?}");
    runtime().block_on(async move { drop(blocking) });
}

#[test]
fn endings_are_told_as_they_were() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    struct Tells(Arc<std::sync::Mutex<Vec<Ending>>>);
    impl Middleware for Tells {
        fn name(&self) -> &str {
            "tells"
        }
        fn before<'a>(&'a self, _: &'a Subject, _: &'a mut (dyn Operation + 'a)) -> Answer<'a> {
            passes()
        }
        fn after(&self, ended: &Ended<'_>) {
            self.0.lock().unwrap().push(ended.ending);
        }
    }
    let world = World::new([Layer::custom(Tells(told.clone()))]);
    world.send("team/ann").unwrap();
    drop(world.gate.admit(&tool(), send("team/ann")).unwrap());
    drop(world.gate.admit(&tool(), send("team/ann")).unwrap().withdraw());
    assert_eq!(*told.lock().unwrap(), [Ending::Done, Ending::Unknown, Ending::Failed]);
}
