//! The trace that a message belongs to, and that it hands on to the messages it leads to.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{Actor, Address, Context, ExitReason, MailboxOptions, ReplyTo, System, TraceContext};
use tokio::time::sleep;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

use crate::probe::{Diary, SOON, answer, until};
use crate::puppet::{Order, Puppet, occupy, on, puppet, run};

/// The trace that a handler sees.
type Seen = Arc<Mutex<Vec<Option<TraceContext>>>>;

fn see(seen: &Seen) -> Order {
    let seen = seen.clone();
    run(move |_, _| {
        Box::pin(async move {
            seen.lock().unwrap().push(TraceContext::current());
            Ok(())
        })
    })
}

async fn pair(system: &System) -> (Address<Order>, Address<Order>) {
    let a = puppet(system, &Diary::default(), MailboxOptions::default()).await;
    let b = system.spawn("b", MailboxOptions::default(), || Puppet::new(&Diary::default())).await.unwrap();
    (a, b)
}

/// With one dispatcher, what another thread meets first is asked of that thread's, which is none, and stays unheard.
fn second() -> tracing::Dispatch {
    tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default())
}

#[tokio::test(start_paused = true)]
async fn a_trace_goes_from_message_to_message_however_they_are_sent() {
    let system = System::new();
    let (a, b) = pair(&system).await;
    let seen = Seen::default();
    let orders = [see(&seen), see(&seen), see(&seen)];
    let notes = seen.clone();
    let root = TraceContext::root(true);
    let forward = run(move |_, _| {
        Box::pin(async move {
            let own = TraceContext::current();
            notes.lock().unwrap().push(own);
            let [first, second, third] = orders;
            b.try_tell(first).unwrap();
            tokio::task::yield_now().await;
            b.tell(second).await.unwrap();
            b.recipient().tell(third).await.unwrap();
            let asked = b.ask(SOON, |reply: ReplyTo<Option<TraceContext>>| {
                run(move |_, _| {
                    Box::pin(async {
                        answer(reply, TraceContext::current());
                        Ok(())
                    })
                })
            });
            let of_asked = asked.await.unwrap();
            notes.lock().unwrap().push(of_asked);
            assert_eq!(TraceContext::current(), own, "also after it has awaited");
            Ok(())
        })
    });
    root.scope(async { a.tell(forward).await.unwrap() }).await;
    until(|| seen.lock().unwrap().len() == 5).await;
    let seen: Vec<_> = seen.lock().unwrap().iter().map(|seen| seen.expect("a trace")).collect();
    assert!(seen.iter().all(|seen| seen.trace_id() == root.trace_id() && seen.is_sampled()));
    let mut spans: Vec<_> = seen.iter().map(|seen| seen.span_id()).chain([root.span_id()]).collect();
    spans.sort_unstable();
    spans.dedup();
    assert_eq!(spans.len(), 6, "each handler is a place of its own");
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_sends_before_its_first_poll_belongs_to_the_trace() {
    let system = System::new();
    let (a, b) = pair(&system).await;
    let seen = Seen::default();
    let order = see(&seen);
    // The actor's `handle` is an async function; the one below is none.
    struct Direct(Address<Order>);
    impl Actor for Direct {
        type Message = Order;

        fn handle(
            &mut self,
            order: Order,
            _: &mut Context<Self>,
        ) -> impl Future<Output = Result<(), ExitReason>> + Send {
            self.0.try_tell(order).unwrap();
            async { Ok(()) }
        }
    }
    let direct = system.spawn("direct", MailboxOptions::default(), move || Direct(b)).await.unwrap();
    let root = TraceContext::root(false);
    root.scope(async { direct.try_tell(order).unwrap() }).await;
    until(|| seen.lock().unwrap().len() == 1).await;
    assert_eq!(seen.lock().unwrap()[0].map(TraceContext::trace_id), Some(root.trace_id()));
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn a_message_sent_outside_of_a_trace_has_none_and_timers_leave_it() {
    let system = System::new();
    let (a, b) = pair(&system).await;
    let seen = Seen::default();
    let root = TraceContext::root(true);
    // After a message of the trace the next one is on its own again.
    root.scope(async { a.try_tell(see(&seen)).unwrap() }).await;
    a.try_tell(see(&seen)).unwrap();
    let order = see(&seen);
    let start_timer = run(move |_, ctx| {
        ctx.send_after(Duration::from_secs(1), order);
        Box::pin(async { Ok(()) })
    });
    root.scope(async { a.try_tell(start_timer).unwrap() }).await;
    // A task of its own leaves the trace as well, unless it is put in scope.
    let order = see(&seen);
    let spawn = run(move |_, _| {
        Box::pin(async move {
            tokio::spawn(async move { b.try_tell(order).unwrap() }).await.unwrap();
            Ok(())
        })
    });
    root.scope(async { a.try_tell(spawn).unwrap() }).await;
    sleep(Duration::from_secs(2)).await;
    let seen = seen.lock().unwrap().iter().map(Option::is_some).collect::<Vec<_>>();
    assert_eq!(seen, [true, false, false, false]);
    assert_eq!(on(&a, |_, _| TraceContext::current()).await, None);
}

/// Writes down the spans that are made.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("airssys_rt")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0.push_str(&format!(" {}={value:?}", field.name()));
            }
        }
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_span_is_made_of_each_message_of_a_sampled_trace_and_of_no_other() {
    let spans = Spans::default();
    let _second = second();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let system = System::new();
    let (a, _) = pair(&system).await;
    let seen = Seen::default();
    let (sampled, silent) = (TraceContext::root(true), TraceContext::root(false));
    a.try_tell(see(&seen)).unwrap();
    silent.scope(async { a.try_tell(see(&seen)).unwrap() }).await;
    sampled.scope(async { a.try_tell(see(&seen)).unwrap() }).await;
    until(|| seen.lock().unwrap().len() == 3).await;
    let handled = seen.lock().unwrap()[2].unwrap();
    let expected = format!("handle actor=puppet id={} trace={handled} parent={sampled}", a.id().as_u64());
    assert_eq!(*spans.0.lock().unwrap(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_traced_actor_makes_no_span_of_its_own() {
    let spans = Spans::default();
    let _second = second();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let system = System::new();
    let (a, _) = pair(&system).await;
    let mut trace = a.sys().trace(9, SOON);
    let gate = occupy(&a).await;
    gate.notify_one();
    assert!(trace.next().await.is_some());
    assert!(spans.0.lock().unwrap().is_empty());
}
