//! Errors and what becomes of them.

use airssys_wasm_component::{CallError, ComponentId, Failure, SendError};

fn parse(text: &str) -> Result<u32, Failure> {
    Ok(text.parse()?)
}

#[test]
fn an_error_that_is_passed_on_rejects_the_message_and_does_not_end_the_component() {
    assert_eq!(parse("7"), Ok(7));
    assert_eq!(parse("seven"), Err(Failure::rejected("invalid digit found in string")));
    assert_eq!(Failure::from(CallError::Timeout), Failure::rejected("timeout"));
}

#[test]
fn an_error_is_written_with_its_name_in_the_contract_first() {
    let id = |name: &str| ComponentId {
        namespace: "app".to_owned(),
        name: name.to_owned(),
        instance: "0".to_owned(),
    };
    let texts = [
        (SendError::Denied.to_string(), "denied"),
        (SendError::MailboxFull.to_string(), "mailbox-full"),
        (SendError::TooLarge(8).to_string(), "too-large: the target takes 8 bytes"),
        (SendError::CodecRefused(vec![0x51, 0x55]).to_string(), "codec-refused: the target reads 0x51 0x55"),
        (CallError::NotSent(SendError::Gone).to_string(), "not-sent: gone"),
        (CallError::Rejected("no".to_owned()).to_string(), "rejected: no"),
        (CallError::Cycle(vec![id("a"), id("b")]).to_string(), "cycle: app/a#0 app/b#0"),
    ];
    for (text, expected) in texts {
        assert_eq!(text, expected);
    }
}
