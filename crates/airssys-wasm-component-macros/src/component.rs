//! `#[component]`: from an impl block to the exports of a world.
//!
//! The block stays as it is, apart from a `metadata` function that is added where it has none. What follows it is
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
    let Some((None, path, _)) = &block.trait_ else {
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
