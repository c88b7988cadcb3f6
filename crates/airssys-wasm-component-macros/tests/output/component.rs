impl Component for Echo {
    #[cfg_attr(target_family = "wasm", inline(never))]
    fn init(_config: &Config) -> Result<Self, Failure> {
        Ok(Self)
    }
    #[cfg_attr(target_family = "wasm", inline(never))]
    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
        Ok(Some(message.payload))
    }
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
    type Guest = glue::Actor<Echo>;
    glue::actor::export_actor!(Guest with_types_in glue::actor);
};
#[cfg(not(target_family = "wasm"))]
const _: fn() -> ::airssys_wasm_component::Metadata = <Echo as Component>::metadata;
