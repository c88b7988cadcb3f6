//! Payloads and their codecs.

use airssys_wasm_component::{JsonError, Payload, codec};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[test]
fn json_goes_there_and_back() {
    let order = Order { item: "lamp".to_owned(), count: 2 };
    let payload = Payload::json(&order).unwrap();
    assert_eq!(payload.codec, codec::JSON);
    assert_eq!(payload.bytes, br#"{"item":"lamp","count":2}"#);
    assert_eq!(payload.parse_json::<Order>().unwrap(), order);
}

#[test]
fn a_payload_of_another_codec_is_not_read_as_json() {
    let refused = Payload::raw(r#"{"item":"lamp","count":2}"#).parse_json::<Order>().unwrap_err();
    assert!(matches!(refused, JsonError::Codec { found: codec::RAW }));
    assert_eq!(refused.to_string(), "expected a json payload (0x200), found codec 0x55");
}

#[test]
fn json_of_another_shape_says_what_is_missing() {
    let payload = Payload { codec: codec::JSON, bytes: br#"{"item":"lamp"}"#.to_vec() };
    let refused = payload.parse_json::<Order>().unwrap_err();
    assert!(refused.to_string().contains("missing field `count`"), "{refused}");
}

#[test]
fn text_is_read_whatever_the_codec_and_bytes_that_are_not_text_are_refused() {
    assert_eq!(Payload::json(&1).unwrap().text(), Ok("1"));
    assert!(Payload::raw([0xff]).text().is_err());
    assert_eq!(Payload::empty().text(), Ok(""));
}
