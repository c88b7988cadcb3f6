//! Everything that one component can do to another, on demand: each message is a command as text.
//!
//! | command | what it does | reply |
//! |---|---|---|
//! | `send:X` | sends X to the target | `ok` or the error |
//! | `call:X`, `call-in:MS:X` | calls the target with X, with a timeout | the answer or the error |
//! | `request:X`, `request-in:MS:X` | makes a request | its id |
//! | `cancel:ID` | takes a request back | `true` or `false` |
//! | `outcomes` | | JSON list of `[id, "ok" or "error", text]` of the callbacks so far |
//! | `broadcast:A,B:X` | sends X to the named components | `ok` or the error for each, comma between |
//! | `lookup:NAME` | | `ok` or the error |
//! | `target:NAME` | makes NAME the target | `ok` or the error |
//! | `who` | | the sender's component id, or `host` |
//! | `self` | | this component's id |
//! | `reachable` | | component ids, comma between |
//! | `publish:TOPIC:X` | | to how many |
//! | `subscribe:PATTERN`, `unsubscribe:PATTERN` | | `ok`, `true`, `false` or the error |
//! | `received` | | JSON list of `[topic, text]` of the published messages so far |
//! | `defer` | keeps the right to answer | nothing yet |
//! | `answer:X`, `refuse:X` | answers the oldest kept request, with X or with an error | `ok`, `none` or the error |
//! | `after:MS:X` | sends itself X later | the timer's id |
//! | `every:MS:X` | sends itself X again and again | the timer's id |
//! | `stop-timer:ID` | | `true` or `false` |
//! | `ticks` | | JSON list of the texts that its timers sent so far |
//! | `config:KEY` | | the entry or `none` |
//! | `correlated` | | `true` when the sender waits for an answer |
//! | `deadline` | | milliseconds left or `none` |
//! | `bytes:N` | | N bytes |
//!
//! Errors are written as their `Display`, which begins with the variant's name. Anything else is answered with
//! `unknown command`. A text from a timer of its own begins with `tick:`.

use std::collections::VecDeque;
use std::time::Duration;

use airssys_wasm_component::replies::ReplyToken;
use airssys_wasm_component::{
    Address, Callback, Component, Config, Failure, Message, Payload, cancel_request, component, config,
    identify, identity, reachable, replies, timers, topics,
};

/// Bounds of what a test may make it remember.
const REMEMBERED_MAX: usize = 10_000;

struct Relay {
    target: Option<Address>,
    outcomes: Vec<(u64, &'static str, String)>,
    received: Vec<(String, String)>,
    ticks: Vec<String>,
    kept: VecDeque<ReplyToken>,
}

#[component]
impl Component for Relay {
    fn init(config: &Config) -> Result<Self, Failure> {
        let target = config.entry("to").map(Address::lookup).transpose()?;
        if let Some(pattern) = config.entry("subscribe") {
            topics::subscribe(pattern)?;
        }
        Ok(Self {
            target,
            outcomes: Vec::new(),
            received: Vec::new(),
            ticks: Vec::new(),
            kept: VecDeque::new(),
        })
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let text = String::from_utf8_lossy(&message.payload.bytes).into_owned();
        if let Some(topic) = message.topic {
            remember(&mut self.received, (topic, text));
            return Ok(None);
        }
        if let Some(tick) = text.strip_prefix("tick:") {
            remember(&mut self.ticks, tick.to_owned());
            return Ok(None);
        }
        let (command, rest) = text.split_once(':').unwrap_or((&text, ""));
        if command == "defer" {
            self.kept.extend(replies::defer(&message));
            return Ok(None);
        }
        self.obey(command, rest, &message).map(|answer| Some(Payload::raw(answer)))
    }

    fn handle_callback(&mut self, callback: Callback) -> Result<(), Failure> {
        let (kind, text) = match callback.outcome {
            Ok(payload) => ("ok", String::from_utf8_lossy(&payload.bytes).into_owned()),
            Err(error) => ("error", error.to_string()),
        };
        remember(&mut self.outcomes, (callback.request, kind, text));
        Ok(())
    }
}

impl Relay {
    fn obey(&mut self, command: &str, rest: &str, message: &Message) -> Result<Vec<u8>, Failure> {
        let answer = match command {
            "send" => outcome(self.target()?.send(&Payload::raw(rest))),
            "call" => return Ok(self.call(rest, None)?),
            "call-in" => {
                let (timeout, text) = delayed(rest)?;
                return Ok(self.call(text, Some(timeout))?);
            }
            "request" => shown(self.target()?.request(&Payload::raw(rest), None)),
            "request-in" => {
                let (timeout, text) = delayed(rest)?;
                shown(self.target()?.request(&Payload::raw(text), Some(timeout)))
            }
            "cancel" => cancel_request(rest.parse()?).to_string(),
            "outcomes" => return Ok(Payload::json(&self.outcomes)?.bytes),
            "broadcast" => broadcast(rest)?,
            "lookup" => outcome(Address::lookup(rest).map(drop)),
            "target" => outcome(Address::lookup(rest).map(|address| self.target = Some(address))),
            "who" => identify(message.sender).map_or_else(|| "host".to_owned(), |id| id.to_string()),
            "self" => identity().to_string(),
            "reachable" => reachable().iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            "publish" => {
                let (topic, text) = rest.split_once(':').unwrap_or((rest, ""));
                shown(topics::publish(topic, &Payload::raw(text)))
            }
            "subscribe" => outcome(topics::subscribe(rest)),
            "unsubscribe" => shown(topics::unsubscribe(rest)),
            "received" => return Ok(Payload::json(&self.received)?.bytes),
            "answer" => self.answer(Ok(Payload::raw(rest))),
            "refuse" => self.answer(Err(rest.to_owned())),
            "after" => {
                let (delay, text) = delayed(rest)?;
                shown(timers::send_after(delay, &Payload::raw(format!("tick:{text}"))))
            }
            "every" => {
                let (period, text) = delayed(rest)?;
                shown(timers::interval(period, &Payload::raw(format!("tick:{text}"))))
            }
            "stop-timer" => timers::cancel(rest.parse()?).to_string(),
            "ticks" => return Ok(Payload::json(&self.ticks)?.bytes),
            "config" => config::entry(rest).unwrap_or_else(|| "none".to_owned()),
            "correlated" => message.correlation.is_some().to_string(),
            "deadline" => message.deadline_ms.map_or_else(|| "none".to_owned(), |left| left.to_string()),
            "bytes" => return Ok(vec![b'x'; rest.parse()?]),
            _ => return Err(Failure::rejected("unknown command")),
        };
        Ok(answer.into_bytes())
    }

    fn target(&self) -> Result<&Address, Failure> {
        self.target.as_ref().ok_or_else(|| Failure::rejected("no target: config entry `to` or `target:NAME`"))
    }

    fn call(&self, text: &str, timeout: Option<Duration>) -> Result<Vec<u8>, Failure> {
        Ok(match self.target()?.call(&Payload::raw(text), timeout) {
            Ok(payload) => payload.bytes,
            Err(error) => error.to_string().into_bytes(),
        })
    }

    fn answer(&mut self, with: Result<Payload, String>) -> String {
        self.kept.pop_front().map_or_else(|| "none".to_owned(), |token| outcome(token.reply(with)))
    }
}

fn broadcast(rest: &str) -> Result<String, Failure> {
    let (names, text) = rest.split_once(':').unwrap_or((rest, ""));
    let addresses = names.split(',').map(Address::lookup).collect::<Result<Vec<_>, _>>()?;
    let results = Address::broadcast(&addresses.iter().collect::<Vec<_>>(), &Payload::raw(text));
    Ok(results.into_iter().map(outcome).collect::<Vec<_>>().join(","))
}

/// `MS:TEXT`.
fn delayed(rest: &str) -> Result<(Duration, &str), Failure> {
    let (milliseconds, text) = rest.split_once(':').unwrap_or((rest, ""));
    Ok((Duration::from_millis(milliseconds.parse()?), text))
}

fn outcome<E: std::fmt::Display>(result: Result<(), E>) -> String {
    result.map_or_else(|error| error.to_string(), |()| "ok".to_owned())
}

fn shown<T: std::fmt::Display, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |value| value.to_string())
}

fn remember<T>(list: &mut Vec<T>, entry: T) {
    if list.len() < REMEMBERED_MAX {
        list.push(entry);
    }
}
