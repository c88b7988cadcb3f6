//! Needs storage: a host that has none, or a component that was not granted it, must be refused at load.
//!
//! `set:KEY:TEXT`, `get:KEY`, `delete:KEY`, `list:PREFIX`, `swap:KEY:OLD:NEW` and `usage`.

use airssys_wasm_component::{Component, Config, Failure, Message, Payload, component, storage};

struct StorageUser;

#[component]
impl Component for StorageUser {
    fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        let words: Vec<&str> = message.payload.text()?.splitn(4, ':').collect();
        let answer = match words.as_slice() {
            ["set", key, value] => {
                storage::set(key, value.as_bytes())?;
                b"ok".to_vec()
            }
            ["get", key] => storage::get(key)?.unwrap_or_else(|| b"none".to_vec()),
            ["delete", key] => storage::delete(key)?.to_string().into_bytes(),
            ["list", prefix] => storage::list_keys(prefix, None, 1000)?.join(",").into_bytes(),
            ["swap", key, old, new] => {
                let old = Some(old.as_bytes()).filter(|old| !old.is_empty());
                storage::compare_and_swap(key, old, Some(new.as_bytes()))?.to_string().into_bytes()
            }
            ["usage"] => {
                let usage = storage::usage()?;
                format!("{} {} {}", usage.keys, usage.bytes, usage.bytes_max).into_bytes()
            }
            _ => return Err(Failure::rejected("not a storage command")),
        };
        Ok(Some(Payload::raw(answer)))
    }
}
