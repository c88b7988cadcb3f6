//! A counter behind HTTP that survives its own crashes: `cargo run -p airssys-rt --example web_counter`, then
//! `curl 127.0.0.1:3000`, `curl -X POST 127.0.0.1:3000/crash`. Ctrl-C stops it.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example talks to its user, and listens"
)]

use std::time::Duration;

use airssys_rt::{Address, ChildSpec, MailboxOptions, Overflow, Shutdown, SupervisorSpec, System, actor};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};

struct Counter(u64);

#[actor]
impl Counter {
    #[ask]
    fn count(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    #[tell]
    fn crash(&mut self) {
        panic!("as you wish");
    }
}

/// A full mailbox and a crash are the server's trouble, not the client's.
async fn count(State(counter): State<Address<CounterMessage>>) -> Result<String, (StatusCode, String)> {
    let count = counter.count(Duration::from_secs(1)).await;
    count.map(|n| format!("{n}\n")).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))
}

async fn crash(State(counter): State<Address<CounterMessage>>) -> StatusCode {
    counter.crash().await.map_or(StatusCode::SERVICE_UNAVAILABLE, |()| StatusCode::ACCEPTED)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = System::new();
    let mailbox = MailboxOptions::bounded(256).overflow(Overflow::Reject);
    let (child, counter) = ChildSpec::worker(&system, "counter", mailbox, || Counter(0));
    let child = child.shutdown(Shutdown::After(Duration::from_secs(1)));
    system.supervise(SupervisorSpec::new("top").intensity(10, Duration::from_secs(1)).child(child)).await?;

    let routes = axum::Router::new().route("/", get(count)).route("/crash", post(crash)).with_state(counter);
    let port = std::env::args().nth(1).unwrap_or_else(|| "3000".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, routes).with_graceful_shutdown(stop).await?;
    println!("clean: {}", system.shutdown(Duration::from_secs(2)).await.is_clean());
    Ok(())
}
