//! `#[actor]` and `#[derive(Message)]` at work on a real system, and what they refuse.

use std::sync::Arc;
use std::time::Duration;

use airssys_rt::{
    Actor, Address, AskError, Context, ExitReason, MailboxOptions, Message, Overflow, ReplyTo, Signal,
    System, TellError, actor,
};
use tokio::sync::Notify;

use crate::probe::{Diary, SOON, until};

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("no such key")]
struct NoSuchKey;

struct Counter {
    total: u64,
    diary: Diary,
    held: Vec<ReplyTo<u64>>,
}

#[actor]
impl Counter {
    const LIMIT: u64 = 100;

    #[tell]
    async fn add(&mut self, n: u64) {
        tokio::task::yield_now().await;
        self.total += n;
    }

    #[tell]
    fn add_within_limit(&mut self, n: u64) -> Result<(), NoSuchKey> {
        if self.total + n > Self::LIMIT {
            return Err(NoSuchKey);
        }
        self.total += n;
        Ok(())
    }

    #[tell]
    fn finish(&mut self) -> Result<(), ExitReason> {
        Err(ExitReason::Normal)
    }

    #[tell]
    async fn wait(&self, gate: Arc<Notify>) {
        gate.notified().await;
    }

    #[ask]
    fn total(&self) -> u64 {
        self.total
    }

    #[ask]
    async fn slow(&mut self, ctx: &mut Context<Self>, key: String) -> Result<String, NoSuchKey> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if key.is_empty() { Err(NoSuchKey) } else { Ok(format!("{} has {key}", ctx.name())) }
    }

    /// The context may stand anywhere, and names of the expansion are no names of ours.
    #[ask]
    fn sum(&self, message: u64, answer: u64, ctx: &Context<Self>, timeout: u64) -> u64 {
        message + answer + timeout + ctx.name().len() as u64
    }

    #[ask]
    fn flush(&self) {}

    #[ask]
    fn fail(&self) -> u64 {
        panic!("told to panic")
    }

    #[ask(deferred)]
    fn at_release(&mut self, reply: ReplyTo<u64>) {
        self.held.push(reply);
    }

    #[ask(deferred)]
    fn last(&mut self, ctx: &mut Context<Self>, reply: ReplyTo<Option<Self>>) -> Result<(), ExitReason> {
        self.diary.note(format!("{} answers last", ctx.name()));
        assert!(reply.send(None).is_ok());
        Err(ExitReason::Shutdown)
    }

    #[tell]
    fn release(&mut self) {
        for reply in std::mem::take(&mut self.held) {
            self.answer(reply);
        }
    }

    #[cfg(not(test))]
    #[tell]
    fn never(&mut self, gone: NoSuchType) {}

    #[cfg(test)]
    #[tell]
    fn always(&mut self, mut n: u64, r#type: u64) {
        n += 1;
        self.total += n + r#type;
    }

    #[hook]
    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.trap_exits(true);
        self.diary.note("start");
        Ok(())
    }

    #[hook]
    async fn signal(&mut self, signal: Signal, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        if let Signal::ExitRequested(reason) = signal {
            self.diary.note(format!("asked to exit: {reason}"));
        }
        Ok(())
    }

    #[hook]
    async fn stop(&mut self, reason: &ExitReason, _ctx: &mut Context<Self>) {
        self.diary.note(format!("stop, {reason}"));
    }
}

impl Counter {
    fn answer(&self, reply: ReplyTo<u64>) {
        reply.send(self.total).unwrap();
    }
}

async fn counter_with(capacity: usize, overflow: Overflow) -> (Address<CounterMessage>, Diary) {
    let diary = Diary::default();
    let notes = diary.clone();
    let counter = System::new()
        .spawn("counter", MailboxOptions { capacity, overflow, ..MailboxOptions::default() }, move || {
            Counter { total: 0, diary: notes, held: Vec::new() }
        })
        .await
        .unwrap();
    (counter, diary)
}

async fn counter() -> (Address<CounterMessage>, Diary) {
    counter_with(16, Overflow::Wait).await
}

#[tokio::test(start_paused = true)]
async fn tells_are_handled_in_order_and_asks_are_answered() {
    let (counter, _) = counter().await;
    counter.add(2).await.unwrap();
    counter.try_add(3).unwrap();
    counter.try_always(4, 5).unwrap();
    assert_eq!(counter.total(SOON).await.unwrap(), 15);
    assert_eq!(counter.sum(SOON, 1, 2, 3).await.unwrap(), 1 + 2 + 3 + "counter".len() as u64);
    counter.flush(SOON).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_asks_result_is_its_answer_and_leaves_the_actor_alive() {
    let (counter, diary) = counter().await;
    assert_eq!(counter.slow(SOON, "it".to_owned()).await.unwrap(), Ok("counter has it".to_owned()));
    assert_eq!(counter.slow(SOON, String::new()).await.unwrap(), Err(NoSuchKey));
    assert_eq!(counter.total(SOON).await.unwrap(), 0);
    assert_eq!(diary.lines(), ["start"]);
}

#[tokio::test(start_paused = true)]
async fn a_tells_error_ends_the_actor_with_it() {
    let (counter, diary) = counter().await;
    counter.add_within_limit(Counter::LIMIT).await.unwrap();
    assert_eq!(counter.total(SOON).await.unwrap(), Counter::LIMIT);
    counter.add_within_limit(1).await.unwrap();
    until(|| !counter.is_alive()).await;
    assert_eq!(diary.lines(), ["start", "stop, error: no such key"]);
}

#[tokio::test(start_paused = true)]
async fn a_tell_may_return_the_reason_itself() {
    let (counter, diary) = counter().await;
    counter.finish().await.unwrap();
    until(|| !counter.is_alive()).await;
    assert_eq!(diary.lines(), ["start", "stop, normal"]);
}

#[tokio::test(start_paused = true)]
async fn a_deferred_ask_is_answered_when_the_handler_likes() {
    let (counter, _) = counter().await;
    let waiting = tokio::spawn({
        let counter = counter.clone();
        async move { counter.at_release(SOON).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    counter.add(7).await.unwrap();
    counter.release().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_deferred_ask_that_is_kept_runs_out_of_time() {
    let (counter, _) = counter().await;
    assert!(matches!(counter.at_release(Duration::from_secs(1)).await, Err(AskError::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn a_deferred_ask_may_answer_and_end_the_actor() {
    let (counter, diary) = counter().await;
    assert!(counter.last(SOON).await.unwrap().is_none());
    until(|| !counter.is_alive()).await;
    assert_eq!(diary.lines(), ["start", "counter answers last", "stop, shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_leaves_its_asker_without_answer() {
    let (counter, _) = counter().await;
    assert!(matches!(counter.fail(SOON).await, Err(AskError::Died)));
    assert!(!counter.is_alive());
}

#[tokio::test(start_paused = true)]
async fn hooks_are_those_of_the_actor() {
    let (counter, diary) = counter().await;
    assert!(counter.exit(ExitReason::Shutdown));
    until(|| diary.lines().len() == 2).await;
    assert_eq!(diary.take(), ["start", "asked to exit: shutdown"]);
    counter.finish().await.unwrap();
    until(|| !diary.lines().is_empty()).await;
    assert_eq!(diary.lines(), ["stop, normal"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_client_cannot_send_comes_back() {
    let (counter, _) = counter_with(1, Overflow::Reject).await;
    let gate = Arc::new(Notify::new());
    counter.wait(gate.clone()).await.unwrap();
    until(|| counter.stats().depth == 0).await;
    counter.add(1).await.unwrap();
    let refused = counter.add(2).await;
    assert!(matches!(refused, Err(TellError::Full(CounterMessage::Add { n: 2 }))));
    let refused = counter.try_always(3, 4);
    assert!(matches!(refused, Err(TellError::Full(CounterMessage::Always { n: 3, r#type: 4 }))));
    let refused = counter.slow(SOON, "it".to_owned()).await;
    let Err(AskError::NotSent(TellError::Full(CounterMessage::Slow { key, reply }))) = refused else {
        panic!("expected the request back")
    };
    assert_eq!(key, "it");
    assert!(reply.is_closed());
    gate.notify_one();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_room_can_be_spawned() {
    let (counter, _) = counter_with(1, Overflow::Wait).await;
    let gate = Arc::new(Notify::new());
    counter.wait(gate.clone()).await.unwrap();
    until(|| counter.stats().depth == 0).await;
    counter.add(1).await.unwrap();
    let waiting = tokio::spawn({
        let counter = counter.clone();
        async move { counter.add(2).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    gate.notify_one();
    waiting.await.unwrap().unwrap();
    assert_eq!(counter.total(SOON).await.unwrap(), 3);
}

/// The module sees the message and the client as far as the handlers say.
mod shop {
    use airssys_rt::{Context, ExitReason, actor};

    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Order(pub(crate) u32);

    pub(crate) struct Shop;

    #[actor(pub(crate), message = Wish, address = Counter, derive(Debug, PartialEq), crate = ::airssys_rt)]
    impl Shop {
        #[tell(from)]
        fn order(&mut self, order: Order) {
            assert_ne!(order.0, 0);
        }

        #[tell]
        pub(super) fn close(&mut self) {}

        #[hook]
        fn describe(_: &Wish) -> std::borrow::Cow<'static, str> {
            "a wish".into()
        }
    }

    /// Hooks alone make an actor that nobody can tell anything.
    pub(crate) struct Deaf;

    #[actor(pub(crate))]
    impl Deaf {
        #[hook]
        async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            ctx.trap_exits(true);
            Ok(())
        }
    }
}

/// Nothing is in scope here but what the handlers name, so whatever the expansion needs it names in full.
mod bare {
    #![no_implicit_prelude]

    type Result<T> = ::core::result::Result<T, ::std::fmt::Error>;

    pub(super) struct Bare(pub(super) u64);

    #[::airssys_rt::actor(pub(super))]
    impl Bare {
        #[tell]
        fn fail(&mut self) -> Result<()> {
            ::core::result::Result::Err(::std::fmt::Error)
        }

        #[tell(from)]
        async fn take(&mut self, value: u64) {
            self.0 += value;
        }

        #[ask]
        fn answer(&self, value: u64) -> Result<u64> {
            ::core::result::Result::Ok(value)
        }

        #[ask(deferred)]
        fn later(&mut self, reply: ::airssys_rt::ReplyTo<u64>) {
            ::core::mem::drop(reply);
        }
    }

    #[derive(::airssys_rt::Message)]
    pub(super) enum Lone {
        Only(u64),
    }
}

#[tokio::test(start_paused = true)]
async fn the_expansion_needs_no_prelude() {
    use bare::BareAddress;
    let bare = System::new().spawn("bare", MailboxOptions::default(), || bare::Bare(0)).await.unwrap();
    bare.take(1).await.unwrap();
    assert_eq!(bare.answer(SOON, 2).await.unwrap(), Ok(2));
    assert!(matches!(bare.later(SOON).await, Err(AskError::Died)));
    bare.fail().await.unwrap();
    until(|| !bare.is_alive()).await;
    assert!(matches!(bare::Lone::from(1), bare::Lone::Only(1)));
}

#[tokio::test(start_paused = true)]
async fn names_and_visibility_are_chosen() {
    use shop::{Counter as _, Order, Shop, Wish};
    let shop = System::new().spawn("shop", MailboxOptions::default(), || Shop).await.unwrap();
    shop.order(Order(1)).await.unwrap();
    shop.try_close().unwrap();
    assert_eq!(Wish::from(Order(1)), Wish::Order { order: Order(1) });
}

#[tokio::test(start_paused = true)]
async fn an_actor_without_handlers_hears_signals_alone() {
    let deaf = System::new().spawn("deaf", MailboxOptions::default(), || shop::Deaf).await.unwrap();
    assert_eq!(size_of::<Option<shop::DeafMessage>>(), 0);
    assert!(deaf.exit(ExitReason::Shutdown));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(deaf.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_recipient_sends_what_a_tell_is_made_from() {
    use shop::{Order, Shop};
    let options = MailboxOptions { capacity: 1, ..MailboxOptions::default() };
    let shop = System::new().spawn("shop", options, || Shop).await.unwrap();
    let orders = shop.recipient::<Order>();
    orders.try_tell(Order(1)).unwrap();
    assert!(matches!(orders.try_tell(Order(2)), Err(TellError::Full(Order(2)))));
    orders.tell(Order(3)).await.unwrap();
}

#[test]
fn a_message_is_described_by_its_variant() {
    assert_eq!(Counter::describe(&CounterMessage::Add { n: 1 }), "Add");
    assert_eq!(Counter::describe(&CounterMessage::Finish), "Finish");
    assert_eq!(shop::Shop::describe(&shop::Wish::Close), "a wish");
}

#[test]
fn a_tell_from_a_value_converts_both_ways() {
    use shop::{Order, Wish};
    assert_eq!(Order::try_from(Wish::from(Order(3))), Ok(Order(3)));
    assert_eq!(Order::try_from(Wish::Close), Err(Wish::Close));
}

#[derive(Debug, PartialEq, Message)]
enum Event {
    Count(u64),
    Text(String),
    #[message(skip)]
    Debt(u64),
    Pair(u8, u8),
    Named {
        n: u16,
    },
    End,
}

#[derive(Debug, PartialEq, Message)]
enum Lone {
    Only(&'static str),
}

#[test]
fn a_derived_message_is_made_from_what_it_carries() {
    assert_eq!(Event::from(4), Event::Count(4));
    assert_eq!(Event::from("a".to_owned()), Event::Text("a".to_owned()));
    assert_eq!(Lone::from("a"), Lone::Only("a"));
}

#[test]
fn a_derived_message_is_taken_apart_or_comes_back() {
    assert_eq!(u64::try_from(Event::Count(4)), Ok(4));
    assert_eq!(<&str>::try_from(Lone::Only("a")), Ok("a"));
    let others =
        || [Event::Debt(4), Event::Pair(1, 2), Event::Named { n: 1 }, Event::End, Event::Text(String::new())];
    for (one, same) in others().into_iter().zip(others()) {
        assert_eq!(u64::try_from(one), Err(same));
    }
}
