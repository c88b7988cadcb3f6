//! Two actors send a ball to and fro: `cargo run -p airssys-rt --example ping`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use airssys_rt::{Actor, Address, Context, ExitReason, MailboxOptions, ReplyTo, System};

struct Player {
    hits: u32,
    game_over: Option<ReplyTo<u32>>,
}

enum Message {
    Serve { to: Address<Message>, hits: u32, game_over: ReplyTo<u32> },
    Ball { from: Address<Message>, left: u32 },
}

impl Actor for Player {
    type Message = Message;

    async fn handle(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        let (to, left) = match message {
            Message::Serve { to, hits, game_over } => {
                self.game_over = Some(game_over);
                (to, hits)
            }
            Message::Ball { from, left } => (from, left),
        };
        self.hits += 1;
        if left > 0 {
            let ball = Message::Ball { from: ctx.address(), left: left - 1 };
            to.try_tell(ball).map_err(|_| std::io::Error::other("the other player has left"))?;
        } else if let Some(game_over) = self.game_over.take() {
            // The asker may have given up waiting; the system counts that.
            game_over.send(self.hits).ok();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = System::new();
    let player = || Player { hits: 0, game_over: None };
    let ping = system.spawn("ping", MailboxOptions::default(), player).await?;
    let pong = system.spawn("pong", MailboxOptions::default(), player).await?;

    let serve = |game_over| Message::Serve { to: pong, hits: 10_000, game_over };
    let hits = ping.ask(Duration::from_secs(5), serve).await.map_err(|error| error.to_string())?;
    println!("ping hit the ball {hits} times");

    system.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
