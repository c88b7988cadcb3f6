impl AsyncComponent for Echo {
    fn metadata() -> ::airssys_wasm_component::Metadata {
        ::airssys_wasm_component::Metadata {
            name: ::std::env!("CARGO_PKG_NAME").to_owned(),
            version: ::std::env!("CARGO_PKG_VERSION").to_owned(),
            description: ::std::env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }
}
#[cfg(target_family = "wasm")]
#[allow(unsafe_code)]
const _: () = {
    use ::airssys_wasm_component::glue;
    ::std::thread_local! {
        static INSTANCE : ::std::cell::RefCell < ::core::option::Option < Echo >> = const
        { ::std::cell::RefCell::new(::core::option::Option::None) };
    }
    impl glue::Instance for Echo {
        fn slot() -> &'static glue::Slot<Self> {
            &INSTANCE
        }
    }
    type Guest = glue::AsyncActor<Echo>;
    glue::async_actor::export_async_actor!(Guest with_types_in glue::async_actor);
};
#[cfg(not(target_family = "wasm"))]
const _: fn() -> ::airssys_wasm_component::Metadata = <Echo as AsyncComponent>::metadata;
