//! `#[component]`: from an impl block to the exports of a world.
//!
//! The block stays as it is, apart from attributes and a `metadata` function that is added where it has none. What follows it is
//! emitted for wasm targets only: the place of the one instance and the export macro of the world that the trait
//! stands for.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;

const FORM: &str = "write\n\n    #[component]\n    impl Component for MyType {\n        ..\n    }\n\n\
    (or `StatefulComponent`, or `AsyncComponent` with the feature `async`)";

/// Output and errors together, as the compiler wants them: it reports the errors and still sees the block.
pub(crate) fn entry_point(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let (output, errors) = expand(arguments, item);
    let errors = errors.iter().map(syn::Error::to_compile_error);
    quote! { #output #(#errors)* }
}

/// The expansion. With errors the output is the block as it was written.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> (TokenStream, Vec<syn::Error>) {
    let mut errors = Vec::new();
    if !arguments.is_empty() {
        errors.push(syn::Error::new(
            arguments.span(),
            format!("#[component] takes no arguments, the trait chooses the world; {FORM}"),
        ));
    }
    let mut block = match syn::parse2::<syn::ItemImpl>(item.clone()) {
        Ok(block) => block,
        Err(_) => {
            errors
                .push(syn::Error::new(item.span(), format!("#[component] stands on an impl block; {FORM}")));
            return (item, errors);
        }
    };
    match world(&block) {
        Ok((world, name)) if errors.is_empty() => {
            add_metadata(&mut block);
            name_handlers(&mut block);
            let exports = exports(world, &name, &block.self_ty);
            (quote! { #block #exports }, errors)
        }
        Ok(_) => (item, errors),
        Err(error) => {
            errors.push(error);
            (item, errors)
        }
    }
}

#[derive(Clone, Copy)]
enum World {
    Actor,
    Stateful,
    Async,
}

/// The world that the block's trait stands for, and the trait as the block names it.
fn world(block: &syn::ItemImpl) -> Result<(World, syn::Path), syn::Error> {
    let Some((path, _)) = &block.trait_ else {
        return Err(syn::Error::new(block.self_ty.span(), format!("this impl block has no trait; {FORM}")));
    };
    if !block.generics.params.is_empty() {
        return Err(syn::Error::new(
            block.generics.span(),
            "the host cannot choose a type parameter: implement the trait for one concrete type",
        ));
    }
    let Some(name) = path.segments.last().map(|segment| segment.ident.to_string()) else {
        return Err(syn::Error::new(path.span(), format!("this is not a trait of a component; {FORM}")));
    };
    match name.as_str() {
        "Component" => Ok((World::Actor, path.clone())),
        "StatefulComponent" => Ok((World::Stateful, path.clone())),
        "AsyncComponent" => Ok((World::Async, path.clone())),
        other => {
            Err(syn::Error::new(path.span(), format!("`{other}` is not a trait of a component; {FORM}")))
        }
    }
}

fn add_metadata(block: &mut syn::ItemImpl) {
    let present = block.items.iter().any(|item| match item {
        syn::ImplItem::Fn(function) => function.sig.ident == "metadata",
        _ => false,
    });
    if !present {
        block.items.push(syn::parse_quote! {
            fn metadata() -> ::airssys_wasm_component::Metadata {
                ::airssys_wasm_component::Metadata {
                    name: ::std::env!("CARGO_PKG_NAME").to_owned(),
                    version: ::std::env!("CARGO_PKG_VERSION").to_owned(),
                    description: ::std::env!("CARGO_PKG_DESCRIPTION").to_owned(),
                }
            }
        });
    }
}

/// Keeps the author's functions apart from the glue that calls them, so that the backtrace of a trap names them.
fn name_handlers(block: &mut syn::ItemImpl) {
    for item in &mut block.items {
        if let syn::ImplItem::Fn(function) = item
            && (function.sig.ident == "init" || function.sig.ident.to_string().starts_with("handle_"))
        {
            function.attrs.push(syn::parse_quote!(#[cfg_attr(target_family = "wasm", inline(never))]));
        }
    }
}

fn exports(world: World, name: &syn::Path, component: &syn::Type) -> TokenStream {
    let (guest, export) = match world {
        World::Actor => (quote!(Actor), quote!(glue::actor::export_actor!(Guest with_types_in glue::actor);)),
        World::Stateful => (
            quote!(StatefulActor),
            quote! {
                glue::actor::export_actor!(Guest with_types_in glue::actor);
                glue::state::export_state!(Guest with_types_in glue::state);
            },
        ),
        World::Async => (
            quote!(AsyncActor),
            quote!(glue::async_actor::export_async_actor!(Guest with_types_in glue::async_actor);),
        ),
    };
    quote! {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use ::airssys_wasm_component::glue;
            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<::core::option::Option<#component>> =
                    const { ::std::cell::RefCell::new(::core::option::Option::None) };
            }
            impl glue::Instance for #component {
                fn slot() -> &'static glue::Slot<Self> {
                    &INSTANCE
                }
            }
            type Guest = glue::#guest<#component>;
            #export
        };
        // Natively nothing calls a component but its tests; this says that it is meant to be here.
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> ::airssys_wasm_component::Metadata = <#component as #name>::metadata;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test reads its golden files")]
mod tests {
    use super::*;

    /// Compares with a golden file. `BLESS=1 cargo test` writes it anew.
    fn check(name: &str, item: TokenStream) {
        let (output, errors) = expand(TokenStream::new(), item);
        assert!(errors.is_empty(), "{errors:?}");
        let text = prettyplease::unparse(&syn::parse2(output).unwrap());
        let path = format!("{}/tests/output/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(
            text,
            std::fs::read_to_string(&path).unwrap(),
            "{path} differs; if it should, set BLESS=1"
        );
    }

    fn refusal(arguments: TokenStream, item: TokenStream) -> String {
        let (output, errors) = expand(arguments, item.clone());
        assert_eq!(output.to_string(), item.to_string(), "the item stays for the errors that follow");
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_component_is_exported_and_named_by_its_package() {
        check(
            "component",
            quote! {
                impl Component for Echo {
                    fn init(_config: &Config) -> Result<Self, Failure> {
                        Ok(Self)
                    }
                    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
                        Ok(Some(message.payload))
                    }
                }
            },
        );
    }

    #[test]
    fn a_stateful_component_exports_its_state_and_keeps_its_own_metadata() {
        check(
            "stateful_component",
            quote! {
                impl airssys_wasm_component::StatefulComponent for Counter {
                    fn metadata() -> Metadata {
                        own()
                    }
                }
            },
        );
    }

    #[test]
    fn an_async_component_is_exported_to_its_own_world() {
        check("async_component", quote!(impl AsyncComponent for Echo {}));
    }

    #[test]
    fn what_is_not_an_impl_of_a_component_is_told_the_form() {
        let none = TokenStream::new;
        let refusals = [
            (
                refusal(
                    none(),
                    quote!(
                        struct Echo;
                    ),
                ),
                "#[component] stands on an impl block",
            ),
            (refusal(none(), quote!(impl Echo {})), "this impl block has no trait"),
            (refusal(none(), quote!(impl Clone for Echo {})), "`Clone` is not a trait of a component"),
            (refusal(quote!(stateful), quote!(impl Component for Echo {})), "takes no arguments"),
        ];
        for (text, start) in refusals {
            assert!(text.contains(start), "{text}");
            assert!(text.contains("impl Component for MyType"), "{text}");
        }
    }

    #[test]
    fn a_type_parameter_is_refused() {
        let text = refusal(
            TokenStream::new(),
            quote!(
                impl<T> Component for Echo<T> {}
            ),
        );
        assert!(text.contains("implement the trait for one concrete type"), "{text}");
    }
}
