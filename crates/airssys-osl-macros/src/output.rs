//! What is made of a struct: the impl of `Statement`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse_quote;
use syn::spanned::Spanned as _;

use crate::attribute::Stated;
use crate::operation::{Part, Statement};

pub(crate) fn statement(statement: &Statement) -> TokenStream {
    let krate = match &statement.options.krate {
        Some(path) => quote!(#path),
        None => quote!(::airssys_osl),
    };
    let (ident, name) = (&statement.ident, &statement.options.name);
    let mut generics = statement.generics.clone();
    if generics.type_params().next().is_some() {
        let shown = statement.parts.iter().filter(|part| shows(part)).map(|part| &part.ty);
        let clause = generics.make_where_clause();
        clause.predicates.push(parse_quote!(Self: ::core::marker::Send + 'static));
        clause
            .predicates
            .extend(shown.map(|ty| -> syn::WherePredicate { parse_quote!(#ty: ::core::fmt::Display) }));
    }
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let accesses = ours("accesses");
    let of_struct = statement.stated.iter().map(|stated| access(&krate, stated, None, &accesses));
    let of_fields = statement.parts.iter().flat_map(|part| {
        part.stated.iter().map(|stated| access(&krate, stated, Some(part), &accesses)).collect::<Vec<_>>()
    });
    let fields = fields(&krate, &statement.parts);
    let bytes_max = bytes_max(&statement.parts);
    quote! {
        #[automatically_derived]
        impl #impl_generics #krate::Statement for #ident #ty_generics #where_clause {
            const NAME: &'static str = #name;

            fn state(&self) -> ::std::vec::Vec<#krate::Access> {
                let mut #accesses = ::std::vec::Vec::new();
                #(#of_struct)*
                #(#of_fields)*
                #accesses
            }

            #fields
            #bytes_max
        }
    }
}

/// A statement that adds the accesses of a field, or of the struct.
fn access(krate: &TokenStream, stated: &Stated, part: Option<&Part>, accesses: &Ident) -> TokenStream {
    // The compiler complains of a wrong type where the field is.
    let place = part.map_or_else(Span::call_site, |part| Span::call_site().located_at(part.ty.span()));
    let field = part.map(|Part { name, .. }| quote_spanned!(place=> &self.#name));
    let cfgs = part.map_or(&[][..], |part| &part.cfgs);
    let call = match stated {
        Stated::File(verb) => {
            let verb = variant(verb);
            quote!(#krate::glue::file(&mut #accesses, #krate::FileVerb::#verb, #field))
        }
        Stated::Net { verb, port } => {
            let verb = variant(verb);
            let port = match port {
                Some(port) => quote!(::core::option::Option::Some(self.#port)),
                None => quote!(::core::option::Option::None),
            };
            quote!(#krate::glue::net(&mut #accesses, #krate::NetVerb::#verb, #field, #port))
        }
        Stated::Env => quote!(#krate::glue::env(&mut #accesses, #field)),
        Stated::Secret => quote!(#krate::glue::secret(&mut #accesses, #field)),
        Stated::Own(verb) => quote!(#krate::glue::own(&mut #accesses, #verb, #field)),
        Stated::Host(what) => {
            let what = variant(what);
            quote!(#krate::glue::host(&mut #accesses, #krate::HostFacility::#what))
        }
    };
    quote!(#(#cfgs)* #call;)
}

fn fields(krate: &TokenStream, parts: &[Part]) -> Option<TokenStream> {
    let fields = ours("fields");
    let said = parts.iter().filter_map(|part| {
        let Part { name, cfgs, audited, ty, .. } = part;
        let audited = audited.as_ref()?;
        let shown = match &audited.name {
            Some(name) => name.value(),
            None => name.unraw().to_string(),
        };
        let place = Span::call_site().located_at(ty.span());
        let value = quote_spanned!(place=> &self.#name);
        Some(match audited.is_redacted {
            true => quote!(#(#cfgs)* #fields.redacted(#shown);),
            false => quote!(#(#cfgs)* #fields.show(#shown, #value);),
        })
    });
    let said: Vec<TokenStream> = said.collect();
    (!said.is_empty()).then(|| {
        quote! {
            fn fields(&self, #fields: &mut #krate::Fields<'_>) {
                #(#said)*
            }
        }
    })
}

fn bytes_max(parts: &[Part]) -> Option<TokenStream> {
    let bytes = ours("bytes");
    let counted: Vec<TokenStream> = parts
        .iter()
        .filter(|part| part.is_counted)
        .map(|Part { name, cfgs, ty, .. }| {
            let place = Span::call_site().located_at(ty.span());
            let len = quote_spanned!(place=> self.#name.len());
            quote!(#(#cfgs)* { #bytes = u64::saturating_add(#bytes, #len as u64); })
        })
        .collect();
    (!counted.is_empty()).then(|| {
        quote! {
            fn bytes_max(&self) -> u64 {
                let mut #bytes = 0u64;
                #(#counted)*
                #bytes
            }
        }
    })
}

fn shows(part: &Part) -> bool {
    part.audited.as_ref().is_some_and(|audited| !audited.is_redacted)
}

/// The variant of a word, such as `Read` of `read`.
fn variant(word: &Ident) -> Ident {
    let text = word.to_string();
    let (first, rest) = text.split_at(1);
    Ident::new(&format!("{}{rest}", first.to_ascii_uppercase()), Span::call_site())
}

/// A name that hides none of the user's.
fn ours(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
