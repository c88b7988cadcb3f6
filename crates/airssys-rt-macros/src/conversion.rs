//! From what a message carries to the message, and back: for one variant of a derived or generated enum.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Data, DeriveInput, Fields, Ident, Variant};

const FORM: &str = "write\n\n    \
    #[derive(Message)]\n    \
    enum MyMessage {\n        \
        Arrived(Order),\n        \
        Stop,\n    \
    }";

/// `#[derive(Message)]`: both ways for each variant that wraps one value.
pub(crate) fn expand(item: TokenStream) -> (TokenStream, Vec<syn::Error>) {
    let input = match syn::parse2::<DeriveInput>(item) {
        Ok(input) => input,
        Err(error) => return (TokenStream::new(), vec![error]),
    };
    let variants = match &input.data {
        Data::Enum(data) => &data.variants,
        Data::Struct(_) | Data::Union(_) => {
            let error = format!("#[derive(Message)] stands on an enum; {FORM}");
            return (TokenStream::new(), vec![syn::Error::new_spanned(&input.ident, error)]);
        }
    };
    if let Some(first) = input.generics.params.first() {
        let error = "a generic enum could carry one type twice: write `From` and `TryFrom` by hand";
        return (TokenStream::new(), vec![syn::Error::new_spanned(first, error)]);
    }
    let mut errors = Vec::new();
    let mut conversions = Vec::new();
    let mut seen: Vec<(&Ident, String, bool)> = Vec::new();
    for variant in variants {
        match is_skipped(variant) {
            Ok(false) => {}
            Ok(true) => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        }
        let Fields::Unnamed(fields) = &variant.fields else { continue };
        let (Some(field), 1) = (fields.unnamed.first(), fields.unnamed.len()) else { continue };
        let cfgs = crate::handler::with_path(&variant.attrs, "cfg");
        let carried = field.ty.to_token_stream();
        let (text, always) = (carried.to_string(), cfgs.is_empty());
        if let Some((earlier, ..)) =
            seen.iter().find(|(_, other, other_always)| *other == text && always && *other_always)
        {
            errors.push(syn::Error::new_spanned(
                &field.ty,
                format!(
                    "`{earlier}` carries this type as well, so `From` would be ambiguous: give it a type of its own, or mark \
                     those that are not made from it `#[message(skip)]`"
                ),
            ));
            continue;
        }
        seen.push((&variant.ident, text, always));
        let name = &variant.ident;
        let value = value();
        conversions.push(both_ways(&cfgs, &input.ident, &carried, &quote!(#name(#value))));
    }
    if conversions.is_empty() && errors.is_empty() {
        let error = format!("no variant carries one value, so there is nothing to convert; {FORM}");
        errors.push(syn::Error::new_spanned(&input.ident, error));
    }
    (quote! { #(#conversions)* }, errors)
}

fn is_skipped(variant: &Variant) -> Result<bool, syn::Error> {
    let mut skipped = false;
    for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("message")) {
        let option = attribute.parse_args::<Ident>();
        if !option.is_ok_and(|option| option == "skip") {
            let error = "write `#[message(skip)]`, or leave the attribute away";
            return Err(syn::Error::new_spanned(attribute, error));
        }
        skipped = true;
    }
    Ok(skipped)
}

/// What stands for the carried value in a variant given to [`both_ways`].
pub(crate) fn value() -> Ident {
    Ident::new("value", Span::mixed_site())
}

/// `variant` is both pattern and expression: the variant's name, with [`value`] in it.
pub(crate) fn both_ways(
    cfgs: &[Attribute],
    message: &Ident,
    carried: &TokenStream,
    variant: &TokenStream,
) -> TokenStream {
    let value = value();
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl ::core::convert::From<#carried> for #message {
            fn from(#value: #carried) -> Self {
                #message::#variant
            }
        }
        #(#cfgs)*
        #[automatically_derived]
        impl ::core::convert::TryFrom<#message> for #carried {
            type Error = #message;
            fn try_from(message: #message) -> ::core::result::Result<Self, #message> {
                // An enum of one variant has no other.
                #[allow(unreachable_patterns)]
                match message {
                    #message::#variant => ::core::result::Result::Ok(#value),
                    other => ::core::result::Result::Err(other),
                }
            }
        }
    }
}
