//! Reads one line of an access log, has it classified by `enrich` and sends the record to `tally`.
use airssys_wasm_component::{Address, Component, Config, Failure, Message, Payload, component};

pub struct Parse {
    enrich: Address,
    tally: Address,
}

#[component]
impl Component for Parse {
    fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self { enrich: Address::lookup("enrich")?, tally: Address::lookup("tally")? })
    }
    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let Record { path, agent, status, bytes, ms } =
            read(&message).ok_or(Failure::rejected("malformed"))?;
        let class = self.enrich.call(&Payload::raw(format!("{path}\n{agent}")), None)?;
        self.tally.send(&Payload::raw(format!("{}\n{status} {bytes} {ms}", class.text()?)))?;
        Ok(Some(Payload::empty()))
    }
}

struct Record<'a> {
    path: &'a str,
    agent: &'a str,
    status: u16,
    bytes: u64,
    ms: f64,
}

/// `HOST - - [TIME] "METHOD PATH VERSION" STATUS BYTES "REFERRER" "AGENT" MILLISECONDS`
fn read(message: &Message) -> Option<Record<'_>> {
    let part: Vec<&str> = message.payload.text().ok()?.split('"').collect();
    let (status, bytes) = part.get(2)?.trim().split_once(' ')?;
    let status = status.parse().expect("the server writes a number for the status");
    let bytes = if bytes == "-" { 0 } else { bytes.parse().ok()? };
    let ms = part[6].trim().parse().ok()?;
    Some(Record { path: part[1].split(' ').nth(1)?, agent: part[5], status, bytes, ms })
}
