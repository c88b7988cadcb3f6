//! Records in the shape of the Open Cybersecurity Schema Framework, version 1.3, for tools that gather logs of many programs.
//!
//! Files are File System Activity (1001), programs Process Activity (1007), the network Network Activity (4001) and DNS
//! Activity (4003), all else that somebody accesses API Activity (6003), and what the log says of itself Base Event (0). A record
//! of an operation with several accesses is one event for each of them, told apart by `metadata.uid`. The same record is
//! always the same event. What came of an operation is an event of the class of the operation if its intent is among the
//! 4,096 newest that are open, and they take 32 MiB at most.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::access::{Access, FileVerb, Host, NetVerb, UnixVerb};

use super::{Record, Seq};

/// Intents that wait for their outcome.
const OPEN_MAX: usize = 4_096;
/// Bytes of their lines together.
const OPEN_BYTES_MAX: usize = 32 << 20;
/// Bytes of what one record repeats in its events. A record that would repeat more says it in the first of them.
const REPEATED_BYTES_MAX: usize = 8 << 20;

/// Turns records into events, in the order of the log.
#[derive(Debug, Default)]
pub struct Export {
    open: BTreeMap<Seq, Record>,
    open_bytes: usize,
}

/// What an event is about.
struct Class {
    uid: u64,
    activity: u64,
    name: &'static str,
    about: Vec<(&'static str, Value)>,
}

impl Export {
    /// The events of one record.
    pub fn events(&mut self, record: &Record) -> Vec<Value> {
        let (action, disposition, severity) = match record.kind() {
            "intent" => (1, 1, 1),
            "observed" => (1, 17, 3),
            "denial" | "denials" => (2, 2, 2),
            _ => (0, 0, 1),
        };
        if matches!(record.kind(), "intent" | "observed") {
            self.open_bytes += record.line().len();
            if let Some(same) = self.open.insert(record.seq(), record.clone()) {
                self.open_bytes -= same.line().len();
            }
            while self.open.len() > OPEN_MAX || self.open_bytes > OPEN_BYTES_MAX {
                let Some((_, oldest)) = self.open.pop_first() else { break };
                self.open_bytes -= oldest.line().len();
            }
        }
        let of = (record.kind() == "outcome")
            .then(|| record.number("of").and_then(|of| self.open.remove(&of)))
            .flatten();
        self.open_bytes -= of.as_ref().map_or(0, |of| of.line().len());
        let about = of.as_ref().unwrap_or(record);
        let (status, detail) = match record.text("outcome") {
            Some("done") => (1, None),
            Some("failed") => (2, record.text("error")),
            Some(_) => (0, Some("nobody knows what came of it")),
            None if action == 2 => (2, record.text("rule")),
            None => (0, record.text("rule")),
        };
        let classes: Vec<Class> = about.accesses().map(Class::of).collect();
        let classes = if classes.is_empty() { vec![Class::base(record)] } else { classes };
        let parts = classes.len();
        let unmapped = unmapped(record);
        let repeats = unmapped.to_string().len().saturating_mul(parts) <= REPEATED_BYTES_MAX;
        let event = |(index, class): (usize, Class)| {
            let mut event = Map::new();
            let mut put = |key: &str, value: Value| drop(event.insert(key.to_owned(), value));
            put("class_uid", class.uid.into());
            put("category_uid", (class.uid / 1000).into());
            put("activity_id", class.activity.into());
            put("activity_name", class.name.into());
            put("type_uid", (class.uid * 100 + class.activity).into());
            put("time", record.time_ms().into());
            put("severity_id", if record.kind() == "alarm" { 4 } else { severity }.into());
            put("status_id", status.into());
            if let Some(detail) = detail {
                put("status_detail", detail.into());
            }
            if action > 0 {
                put("action_id", action.into());
                put("disposition_id", disposition.into());
            }
            if let Some(count) = record.number("count") {
                put("count", count.into());
            }
            if let Some(subject) = about.text("subject") {
                put("actor", json!({ "user": { "name": subject, "type_id": 99, "type": "Subject" } }));
            }
            let mut metadata = json!({
                "version": "1.3.0",
                "product": { "name": "airssys-osl", "vendor_name": "AirsSys" },
                "profiles": ["security_control"],
                "sequence": record.seq(),
                "event_code": record.kind(),
                "uid": if parts == 1 { record.seq().to_string() } else { format!("{}/{index}", record.seq()) },
            });
            if let Some(of) = record.number("of") {
                metadata["correlation_uid"] = of.to_string().into();
            }
            put("metadata", metadata);
            if index == 0 || repeats {
                put("unmapped", unmapped.clone());
            }
            class.about.into_iter().for_each(|(key, value)| put(key, value));
            Value::Object(event)
        };
        classes.into_iter().enumerate().map(event).collect()
    }
}

/// What no attribute of the framework is for.
fn unmapped(record: &Record) -> Value {
    const MAPPED: [&str; 8] = ["seq", "time_ms", "prev", "hash", "kind", "subject", "accesses", "count"];
    let fields = record.fields().as_object().into_iter().flatten();
    Value::Object(
        fields
            .filter(|(key, _)| !MAPPED.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

impl Class {
    fn base(record: &Record) -> Self {
        Self { uid: 0, activity: 99, name: "Other", about: vec![("message", record.kind().into())] }
    }

    fn of(shown: &str) -> Self {
        let Some(access) = Access::of_record(shown) else {
            return Self::api(99, "Other", shown, "unknown");
        };
        match &access {
            Access::File { verb, path } => {
                let (activity, name) = match verb {
                    FileVerb::Create => (1, "Create"),
                    FileVerb::Read => (2, "Read"),
                    FileVerb::Write => (3, "Update"),
                    FileVerb::Remove => (4, "Delete"),
                    FileVerb::Stat => (8, "Get Attributes"),
                    FileVerb::List => (99, "List"),
                    FileVerb::Link => (99, "Link"),
                    FileVerb::Watch => (99, "Watch"),
                };
                let name_of = path.path.as_str().rsplit('/').next().unwrap_or_default();
                let file = json!({ "name": name_of, "path": path.to_string(), "type_id": 0 });
                Self { uid: 1001, activity, name, about: vec![("file", file)] }
            }
            Access::Net { verb, host, port } => {
                let mut end = match host {
                    Host::Named(name) => json!({ "hostname": name.as_str() }),
                    Host::Address(address) => json!({ "ip": address.to_string() }),
                };
                if let Some(port) = port {
                    end["port"] = port.get().into();
                }
                let (uid, activity, name, key) = match verb {
                    NetVerb::Connect => (4001, 1, "Open", "dst_endpoint"),
                    NetVerb::Send => (4001, 6, "Traffic", "dst_endpoint"),
                    NetVerb::Listen | NetVerb::Bind => (4001, 7, "Listen", "src_endpoint"),
                    NetVerb::Resolve => {
                        let query = json!({ "hostname": host.to_string() });
                        return Self { uid: 4003, activity: 1, name: "Query", about: vec![("query", query)] };
                    }
                };
                Self { uid, activity, name, about: vec![(key, end)] }
            }
            Access::NetAt { verb, name, port, address } => {
                let (activity, what) = if *verb == NetVerb::Send { (6, "Traffic") } else { (1, "Open") };
                let end = json!({ "hostname": name.as_str(), "ip": address.to_string(), "port": port.get() });
                Self { uid: 4001, activity, name: what, about: vec![("dst_endpoint", end)] }
            }
            Access::Unix { verb, path } => {
                let (activity, what, key) = match verb {
                    UnixVerb::Connect => (1, "Open", "dst_endpoint"),
                    UnixVerb::Listen => (7, "Listen", "src_endpoint"),
                };
                let end = json!({ "name": path.to_string() });
                Self { uid: 4001, activity, name: what, about: vec![(key, end)] }
            }
            Access::Run { program, .. } => {
                let name = program.rsplit('/').next().unwrap_or_default();
                let line = shown.strip_prefix("run ").unwrap_or(shown);
                let file = json!({ "name": name, "path": &**program, "type_id": 1 });
                let process = json!({ "cmd_line": line, "file": file });
                Self { uid: 1007, activity: 1, name: "Launch", about: vec![("process", process)] }
            }
            Access::Env { name } => Self::api(2, "Read", name.as_str(), "environment variable"),
            Access::Secret { name } => Self::api(2, "Read", name.as_str(), "secret"),
            Access::Host { what } => Self::api(2, "Read", what.word(), "host"),
            Access::Own { verb, name } => Self::api(99, "Other", name.as_str(), verb.as_str()),
        }
    }

    fn api(activity: u64, name: &'static str, what: &str, kind: &str) -> Self {
        let about = vec![
            ("api", json!({ "operation": kind })),
            ("resources", json!([{ "name": what, "type": kind }])),
        ];
        Self { uid: 6003, activity, name, about }
    }
}
