//! An actor that runs whatever code it is sent, so that a test can stand in its shoes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use airssys_rt::{Actor, Address, Context, ExitReason, MailboxOptions, ReplyTo, System};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::probe::{Diary, SOON, answer, until};

pub(crate) type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), ExitReason>> + Send + 'a>>;
pub(crate) type Job = Box<dyn for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Puppet>) -> Outcome<'a> + Send>;

pub(crate) enum Order {
    Note(u32),
    /// Notes the time as well, in milliseconds since the puppet was made.
    Tick(u32),
    Ask(u32, ReplyTo<u32>),
    Run(Job),
}

pub(crate) struct Puppet {
    pub(crate) diary: Diary,
    made_at: Instant,
}

impl Puppet {
    pub(crate) fn new(diary: &Diary) -> Self {
        Self { diary: diary.clone(), made_at: Instant::now() }
    }
}

impl Actor for Puppet {
    type Message = Order;

    async fn handle(&mut self, order: Order, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        match order {
            Order::Note(n) => self.diary.note(n.to_string()),
            Order::Tick(n) => self.diary.note(format!("{n} at {}", self.made_at.elapsed().as_millis())),
            Order::Ask(n, reply) => answer(reply, n),
            Order::Run(job) => return job(self, ctx).await,
        }
        Ok(())
    }

    fn hibernate(&mut self) {
        self.diary.note(format!("hibernates at {}", self.made_at.elapsed().as_millis()));
    }
}

pub(crate) async fn puppet(system: &System, diary: &Diary, mailbox: MailboxOptions) -> Address<Order> {
    let diary = diary.clone();
    system.spawn("puppet", mailbox, move || Puppet::new(&diary)).await.expect("a puppet starts")
}

/// Code to be run by a puppet.
pub(crate) fn run(
    job: impl for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Puppet>) -> Outcome<'a> + Send + 'static,
) -> Order {
    Order::Run(Box::new(job))
}

/// Runs something on the puppet, between two messages, and returns what it returns.
pub(crate) async fn on<R: Send + 'static>(
    puppet: &Address<Order>,
    look: impl FnOnce(&mut Puppet, &mut Context<Puppet>) -> R + Send + 'static,
) -> R {
    let asked = puppet.ask(SOON, |reply: ReplyTo<R>| {
        run(move |puppet, ctx| {
            answer(reply, look(puppet, ctx));
            Box::pin(async { Ok(()) })
        })
    });
    asked.await.expect("a puppet answers")
}

/// Keeps the puppet in a handler that awaits, until the gate is opened.
pub(crate) fn wait_for(gate: &Arc<Notify>) -> Order {
    let gate = gate.clone();
    run(move |_, _| {
        Box::pin(async move {
            gate.notified().await;
            Ok(())
        })
    })
}

/// Waits until the puppet is in such a handler.
pub(crate) async fn occupy(puppet: &Address<Order>) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    puppet.try_tell(wait_for(&gate)).expect("room");
    until(|| puppet.stats().depth == 0).await;
    gate
}

/// Lets a puppet go on and returns once everything sent before was handled.
pub(crate) async fn release(puppet: &Address<Order>, gate: &Notify) {
    gate.notify_one();
    until(|| puppet.stats().depth == 0).await;
    assert_eq!(puppet.ask(SOON, |reply| Order::Ask(7, reply)).await.expect("an answer"), 7);
}
