//! Macros of the AirsSys guest SDK. Use them through `airssys-wasm-component`.

mod component;

/// Makes a component of one impl block of `Component`, `StatefulComponent` or `AsyncComponent`.
///
/// Fills in `metadata` from `Cargo.toml` where the block has none and, on a wasm target, exports the component.
/// A crate holds one component.
#[proc_macro_attribute]
pub fn component(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    component::entry_point(arguments.into(), item.into()).into()
}
