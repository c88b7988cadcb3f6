impl airssys_wasm_component::StatefulComponent for Counter {
    fn metadata() -> Metadata {
        own()
    }
}
#[cfg(target_family = "wasm")]
#[allow(unsafe_code)]
const _: () = {
    use ::airssys_wasm_component::glue;
    ::std::thread_local! {
        static INSTANCE : ::std::cell::RefCell < ::core::option::Option < Counter >> =
        const { ::std::cell::RefCell::new(::core::option::Option::None) };
    }
    impl glue::Instance for Counter {
        fn slot() -> &'static glue::Slot<Self> {
            &INSTANCE
        }
    }
    type Guest = glue::StatefulActor<Counter>;
    glue::actor::export_actor!(Guest with_types_in glue::actor);
    glue::state::export_state!(Guest with_types_in glue::state);
};
#[cfg(not(target_family = "wasm"))]
const _: fn() -> ::airssys_wasm_component::Metadata = <Counter as airssys_wasm_component::StatefulComponent>::metadata;
