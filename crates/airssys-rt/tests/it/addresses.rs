//! Addresses that know less: one that keeps nothing alive, and one that knows only a part of the messages.

use std::sync::Arc;
use std::time::Duration;

use airssys_rt::{
    Actor, Address, Context, ExitReason, MailboxOptions, Overflow, Recipient, System, TellError,
};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::probe::{Diary, SOON, until};
use crate::puppet::{Order, puppet};

#[tokio::test(start_paused = true)]
async fn a_weak_address_finds_who_is_there_and_keeps_nobody() {
    let system = System::new();
    let a = puppet(&system, &Diary::default(), MailboxOptions::default()).await;
    let weak = a.downgrade();
    drop(a);
    let again = weak.upgrade().expect("the system knows it");
    assert_eq!(again.ask(SOON, |reply| Order::Ask(1, reply)).await.unwrap(), 1);
    again.exit(ExitReason::Killed);
    until(|| !again.is_alive()).await;
    assert!(weak.upgrade().is_some(), "an address keeps its place");
    drop(again);
    until(|| weak.upgrade().is_none()).await;
    assert_eq!(format!("{weak:?}"), "WeakAddress(gone)");
}

/// What a shop takes.
enum Trade {
    Buy(u32),
    Sell(u32),
    Wait(Arc<Notify>),
}

#[derive(Debug, PartialEq)]
struct Bought(u32);

impl From<Bought> for Trade {
    fn from(bought: Bought) -> Self {
        Self::Buy(bought.0)
    }
}

impl TryFrom<Trade> for Bought {
    type Error = Trade;

    fn try_from(trade: Trade) -> Result<Self, Trade> {
        match trade {
            Trade::Buy(n) => Ok(Self(n)),
            other @ (Trade::Sell(_) | Trade::Wait(_)) => Err(other),
        }
    }
}

struct Shop(Diary);

impl Actor for Shop {
    type Message = Trade;

    async fn handle(&mut self, trade: Trade, _: &mut Context<Self>) -> Result<(), ExitReason> {
        match trade {
            Trade::Buy(n) => self.0.note(format!("bought {n}")),
            Trade::Sell(n) => self.0.note(format!("sold {n}")),
            Trade::Wait(gate) => gate.notified().await,
        }
        Ok(())
    }
}

async fn shop(mailbox: MailboxOptions) -> (Address<Trade>, Recipient<Bought>, Diary, Arc<Notify>) {
    let (system, diary) = (System::new(), Diary::default());
    let notes = diary.clone();
    let shop = system.spawn("shop", mailbox, move || Shop(notes)).await.unwrap();
    let gate = Arc::new(Notify::new());
    shop.tell(Trade::Wait(gate.clone())).await.unwrap();
    until(|| shop.stats().depth == 0).await;
    let recipient = shop.recipient();
    (shop, recipient, diary, gate)
}

#[tokio::test(start_paused = true)]
async fn a_recipient_sends_what_it_knows_to_who_knows_more() {
    let (shop, recipient, diary, gate) = shop(MailboxOptions::default()).await;
    assert_eq!(recipient.id(), shop.id());
    recipient.try_tell(Bought(1)).unwrap();
    shop.tell(Trade::Sell(2)).await.unwrap();
    recipient.clone().tell(Bought(3)).await.unwrap();
    gate.notify_one();
    until(|| diary.lines().len() == 3).await;
    assert_eq!(diary.lines(), ["bought 1", "sold 2", "bought 3"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_recipient_cannot_send_comes_back_as_it_was() {
    let (shop, recipient, _, gate) = shop(MailboxOptions::bounded(1).overflow(Overflow::Reject)).await;
    recipient.try_tell(Bought(1)).unwrap();
    assert!(matches!(recipient.try_tell(Bought(2)), Err(TellError::Full(Bought(2)))));
    assert!(matches!(recipient.tell(Bought(3)).await, Err(TellError::Full(Bought(3)))));
    shop.exit(ExitReason::Killed);
    until(|| !shop.is_alive()).await;
    assert!(matches!(recipient.try_tell(Bought(4)), Err(TellError::Closed(Bought(4)))));
    drop(gate);
}

#[tokio::test(start_paused = true)]
async fn a_recipient_waits_for_room_where_senders_wait() {
    let (_, recipient, diary, gate) = shop(MailboxOptions::bounded(1)).await;
    recipient.try_tell(Bought(1)).unwrap();
    let waiting = tokio::spawn(async move { recipient.tell(Bought(2)).await });
    sleep(Duration::from_millis(1)).await;
    assert!(!waiting.is_finished());
    gate.notify_one();
    waiting.await.unwrap().unwrap();
    until(|| diary.lines().len() == 2).await;
}
