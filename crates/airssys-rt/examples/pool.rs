//! Four workers share one queue; one that crashes loses its own job and no other: `cargo run -p airssys-rt --example pool`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use airssys_rt::{Actor, Context, ExitReason, Job, PoolSpec, ReplyTo, System};

/// Counts the steps of the Collatz sequence, and does not like multiples of 1000.
struct Collatz;

impl Actor for Collatz {
    type Message = Job<(u64, ReplyTo<u32>)>;

    async fn handle(&mut self, job: Self::Message, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        let (mut n, reply) = job.message;
        assert!(!n.is_multiple_of(1000), "not {n}");
        let mut steps = 0;
        while n != 1 {
            n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
            steps += 1;
        }
        // The asker may have given up waiting; the system counts that.
        reply.send(steps).ok();
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = System::new();
    let (supervisor, pool) = PoolSpec::new("collatz", 4, || Collatz).build(&system);
    system.supervise(supervisor).await?;

    let asked: Vec<_> = (1..=2_000)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.ask(Duration::from_secs(5), |reply| (n, reply)).await.ok() })
        })
        .collect();
    let (mut answered, mut longest) = (0, 0);
    for ask in asked {
        if let Some(steps) = ask.await? {
            answered += 1;
            longest = longest.max(steps);
        }
    }
    println!("{answered} of 2000 answered, the longest sequence has {longest} steps: {:?}", pool.stats());
    system.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
