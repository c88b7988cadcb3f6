//! Subscribers join a group and hear what is told to it: `cargo run -p airssys-rt --example pubsub`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::sync::Arc;
use std::time::Duration;

use airssys_rt::{Actor, Context, ExitReason, Group, MailboxOptions, System};

struct Subscriber {
    topic: Group<Arc<str>>,
    left: u32,
}

impl Actor for Subscriber {
    type Message = Arc<str>;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        self.topic.join(&ctx.address())?;
        Ok(())
    }

    async fn handle(&mut self, news: Arc<str>, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        println!("{} hears: {news}", ctx.name());
        self.left -= 1;
        // Whoever ends leaves the group by that.
        if self.left == 0 { Err(ExitReason::Normal) } else { Ok(()) }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = System::new();
    let topic = system.scope("news").group::<Arc<str>>("weather")?;
    for (name, left) in [("anna", 3), ("ben", 1), ("carl", 2)] {
        let topic = topic.clone();
        system.spawn(name, MailboxOptions::default(), move || Subscriber { topic, left }).await?;
    }
    for news in ["rain", "sun", "wind"] {
        let heard = topic.tell_all(news.into());
        println!("told {news} to {} subscribers", heard.sent);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let next = topic.round_robin().map(|address| address.name().to_owned());
    println!("whose turn it would be: {next:?}");
    system.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
