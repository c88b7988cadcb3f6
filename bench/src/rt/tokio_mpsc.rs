//! The baseline: a task, a bounded channel and oneshot channels of tokio, and nothing that makes an actor of them.
//!
//! No name, no start that is waited for, no monitor, no restart, no timeout. What ends a task is its abort handle; its
//! end is seen by the channel being closed.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::subject::{Plan, Subject, watch};
use super::worker::{Broken, Worker};
use crate::Outcome;

pub(super) struct TokioMpsc;

#[derive(Clone)]
pub(super) struct Address {
    sender: mpsc::Sender<Message>,
    task: AbortHandle,
}

pub(super) enum Message {
    Count(u64),
    Ask(u64, oneshot::Sender<u64>),
    Next(mpsc::Sender<Message>),
    Token(u64),
    Block,
}

impl Subject for TokioMpsc {
    const NAME: &'static str = "tokio-mpsc";
    const NO_RESTART: Option<&'static str> = Some("a task that panicked is gone");
    type Address = Address;

    async fn new() -> Outcome<Self> {
        Ok(TokioMpsc)
    }

    async fn start(&self, plan: Plan) -> Outcome<Self::Address> {
        let (sender, messages) = mpsc::channel(plan.capacity);
        let task = tokio::spawn(work(Worker::new(plan.gauge), messages)).abort_handle();
        Ok(Address { sender, task })
    }

    async fn count(address: &Self::Address, value: u64) -> Outcome<()> {
        Ok(address.sender.send(Message::Count(value)).await.map_err(|_| Broken::Refused)?)
    }

    async fn ask(address: &Self::Address, value: u64) -> Outcome<u64> {
        let (reply, answer) = oneshot::channel();
        address.sender.send(Message::Ask(value, reply)).await.map_err(|_| Broken::Refused)?;
        Ok(answer.await?)
    }

    async fn next(address: &Self::Address, next: Self::Address) -> Outcome<()> {
        Ok(address.sender.send(Message::Next(next.sender)).await.map_err(|_| Broken::Refused)?)
    }

    async fn token(address: &Self::Address, hops_left: u64) -> Outcome<()> {
        Ok(address.sender.send(Message::Token(hops_left)).await.map_err(|_| Broken::Refused)?)
    }

    async fn block(address: &Self::Address) -> Outcome<()> {
        Ok(address.sender.send(Message::Block).await.map_err(|_| Broken::Refused)?)
    }

    async fn watch(&self, address: &Self::Address) -> Outcome<oneshot::Receiver<Instant>> {
        let sender = address.sender.clone();
        watch(async move { sender.closed().await }).await
    }

    async fn kill(&self, address: &Self::Address) -> Outcome<()> {
        address.task.abort();
        Ok(())
    }

    async fn end(&self, addresses: Vec<Self::Address>) -> Outcome<()> {
        for Address { sender, task } in &addresses {
            task.abort();
            sender.closed().await;
        }
        Ok(())
    }
}

async fn work(mut worker: Worker, mut messages: mpsc::Receiver<Message>) {
    let mut to = None;
    while let Some(message) = messages.recv().await {
        match message {
            Message::Count(value) => worker.count(value),
            Message::Ask(value, reply) => drop(reply.send(worker.answer(value))),
            Message::Next(next) => to = Some(next),
            Message::Token(hops_left) => {
                if let (Some(hops_left), Some(next)) = (worker.token(hops_left), &to)
                    && next.try_send(Message::Token(hops_left)).is_err()
                {
                    return;
                }
            }
            Message::Block => worker.block().await,
        }
    }
}
