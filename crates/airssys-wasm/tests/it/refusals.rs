//! What is not granted, not provided, or not a component: refused with a message that says what to do.

use airssys_wasm::manifest::{Accepts, Capabilities, Service};
use airssys_wasm::{
    Codec, Component, ComponentId, ComponentSpec, Kind, LoadError, Payload, Refused, Runtime, Satisfied,
    SpecError,
};

use crate::world::{Part, World, component, engines, guest, services};

fn load(bytes: &[u8]) -> Result<Component, LoadError> {
    Component::load(&engines(), bytes, false)
}

#[test]
fn a_component_that_imports_what_the_host_lacks_is_refused_by_name() {
    let storage = load(&guest("storage-user")).expect("it is a component");
    let error = storage.check_actor(&services()).expect_err("storage is not linked");
    let LoadError::MissingImport { ref interface, ref missing, .. } = error else { panic!("{error:?}") };
    assert_eq!(interface, "airssys:core/storage@1.0.0");
    assert!(!missing.is_empty());
    assert!(error.to_string().contains("airssys:core/storage@1.0.0"), "{error}");
    let echo = component("echo");
    assert!(echo.check_actor(&services()).is_ok(), "one that imports what there is, is not");
}

#[test]
fn a_service_that_was_not_granted_cannot_be_imported() {
    let crasher = component("crasher");
    let error = crasher.check_actor(&Capabilities::default()).expect_err("it sleeps");
    assert!(matches!(error, LoadError::NotGranted { grant: "sleep", .. }), "{error:?}");
    let granted = Capabilities { services: [Service::Sleep].into(), ..Capabilities::default() };
    assert!(crasher.check_actor(&granted).is_ok());
}

#[test]
fn what_is_not_a_component_is_told_apart() {
    assert!(matches!(load(b"").expect_err("empty"), LoadError::NotWasm));
    assert!(matches!(load(b"#!/bin/sh\n").expect_err("a script"), LoadError::NotWasm));
    let module = wat::parse_str("(module (memory 1))").expect("it parses");
    assert!(matches!(load(&module).expect_err("a core module"), LoadError::CoreModule));
    let mut cut = guest("echo");
    cut.truncate(cut.len() / 2);
    assert!(matches!(load(&cut).expect_err("half a component"), LoadError::Invalid(_)));
    let empty = wat::parse_str("(component)").expect("it parses");
    let empty = load(&empty).expect("a component that does nothing");
    assert_eq!(empty.description().kind, Kind::Other);
    assert!(matches!(empty.check_actor(&services()).expect_err("no actor"), LoadError::NotAnActor { .. }));
}

#[test]
fn an_import_of_another_version_names_the_one_that_is_there() {
    let text = r#"(component (import "airssys:core/config@2.0.0" (instance
        (export "entry" (func (param "key" string) (result (option string)))))))"#;
    let component = load(&wat::parse_str(text).expect("it parses")).expect("a component");
    let import = &component.description().imports[0];
    assert_eq!(import.satisfied, Satisfied::OtherVersion("airssys:core/config@1.0.0".into()));
}

#[test]
fn a_function_that_the_interface_does_not_have_is_named() {
    let text = r#"(component (import "airssys:core/config@1.0.0" (instance
        (export "forget" (func (param "key" string))))))"#;
    let component = load(&wat::parse_str(text).expect("it parses")).expect("a component");
    assert_eq!(component.description().imports[0].satisfied, Satisfied::Without(vec!["forget".into()]));
}

#[tokio::test]
async fn two_components_cannot_have_one_id() {
    let system = airssys_rt::System::new();
    let runtime = Runtime::new(engines(), system);
    let spec = || ComponentSpec {
        id: ComponentId::new("test", "echo", "0").expect("a name"),
        component: component("echo"),
        limits: Default::default(),
        grants: services(),
        accepts: Accepts::All,
        config: Vec::new(),
        mailbox: Default::default(),
    };
    let (_child, handle) = runtime.child(spec()).expect("the first");
    assert!(matches!(runtime.child(spec()), Err(SpecError::Taken { .. })));
    handle.retire();
    assert!(runtime.child(spec()).is_ok(), "a retired id is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_was_not_allowed_cannot_talk_and_the_refusal_is_told() {
    let world = World::start(vec![
        Part::new("secret", "echo"),
        Part::new("friend", "echo"),
        Part::new("relay", "relay").to("friend"),
    ])
    .await;
    let mut events = world.runtime.router().events();
    assert_eq!(world.answer("relay", "lookup:friend").await, "ok");
    let denied = world.answer("relay", "lookup:secret").await;
    assert!(denied.starts_with("denied"), "{denied}");
    assert_eq!(world.answer("relay", "lookup:nobody").await, denied, "no word on whether it exists");
    assert_eq!(world.answer("relay", "reachable").await, "test/friend#0");
    assert_eq!(world.runtime.router().counts().denied, 2);
    assert!(matches!(
        events.recv().await,
        Ok(airssys_wasm::RouterEvent::Denied { verb: "send", ref what, .. }) if what.as_ref() == "secret"
    ));
    assert_eq!(world.get("secret").mailbox().accepted, 0, "nothing reached it");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_granted_like_addresses() {
    let world =
        World::start(vec![Part::new("relay", "relay").may_publish("news.*").may_subscribe("news.#")]).await;
    assert_eq!(world.answer("relay", "publish:news.today:x").await, "0");
    assert!(world.answer("relay", "publish:secret:x").await.starts_with("denied"));
    assert!(world.answer("relay", "publish:news..x:x").await.starts_with("malformed"));
    assert_eq!(world.answer("relay", "subscribe:news.today").await, "ok");
    assert!(world.answer("relay", "subscribe:#").await.starts_with("denied"), "wider than the grant");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_codec_that_is_not_read_is_refused_with_those_that_are() {
    let accepts = Accepts::Only(vec![Codec::JSON]);
    let world = World::start(vec![
        Part { accepts, ..Part::new("json", "echo") },
        Part::new("relay", "relay").to("json"),
    ])
    .await;
    let error = world.get("json").send(Payload::raw("{}")).await.expect_err("raw is not read");
    assert_eq!(error.refused, Refused::CodecRefused { accepts: vec![Codec::JSON] });
    let answer = world.answer("relay", "send:{}").await;
    assert!(answer.starts_with("codec-refused"), "{answer}");
    let json = Payload { codec: Codec::JSON, bytes: "{}".into() };
    assert_eq!(world.get("json").call(json.clone(), None).await, Ok(json));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_fails_at_init_does_not_start_and_leaves_nothing() {
    let system = airssys_rt::System::new();
    let runtime = Runtime::new(engines(), system.clone());
    for how in ["fatal", "rejected", "panic"] {
        let parts = vec![Part::new("good", "echo"), Part::new("bad", "crasher").config("init", how)];
        let (children, handles) = crate::world::children(&runtime, parts);
        let mut spec = airssys_rt::SupervisorSpec::new(format!("top-{how}"));
        spec.children = children;
        let error = system.supervise(spec).await.expect_err("it does not start");
        assert!(error.to_string().contains("bad"), "{error}");
        assert!(system.tree().is_empty(), "those started before it were stopped");
        handles.iter().for_each(airssys_wasm::ComponentHandle::retire);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_of_wasi_gets_nothing_but_its_log() {
    let world = World::start(vec![Part::new("wasi", "wasip2-echo")]).await;
    let mut events = world.runtime.router().events();
    assert_eq!(world.answer("wasi", "hello").await, "hello");
    let logged = tokio::time::timeout(crate::world::SOON, async {
        loop {
            if let Ok(airssys_wasm::RouterEvent::Log { text, .. }) = events.recv().await
                && text.contains("hello")
            {
                return;
            }
        }
    });
    logged.await.expect("what it prints becomes its log");
    world.stop().await;
}

#[test]
fn state_save_and_restore_are_seen_among_the_exports() {
    let stateful = component("stateful");
    assert!(stateful.check_actor(&services()).is_ok());
    let exports = &stateful.description().exports;
    assert!(exports.iter().any(|export| export.interface == "airssys:core/state@1.0.0"), "{exports:?}");
}
