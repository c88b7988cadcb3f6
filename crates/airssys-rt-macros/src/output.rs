//! What is made of a block: the message, the impl of `Actor`, the client.
//!
//! Names of ours inside a body come from the macro's place, those of fields from the user's, so neither hides the other.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ImplItem;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::block::Block;
use crate::conversion;
use crate::field::Field;
use crate::handler::{Argument, Handler, Kind};

pub(crate) fn all(block: &Block) -> TokenStream {
    let parts = [carried(block), message(block), actor(block), client(block), conversions(block)];
    quote! { #(#parts)* }
}

fn message(block: &Block) -> TokenStream {
    let Block { attributes, visibility, message, .. } = block;
    let doc = format!(" What a `{}` is told.", actor_name(block));
    let derive = block.derives.as_ref().map(|paths| quote!(#[derive(#(#paths),*)]));
    let variants = block.handlers.iter().map(|handler| variant(block, handler));
    quote! {
        #(#attributes)*
        #[doc = #doc]
        #derive
        #[allow(dead_code)]
        #visibility enum #message {
            #(#variants),*
        }
    }
}

/// Lets the compiler complain of a type that cannot travel where the user wrote it, before it complains of the message.
fn carried(block: &Block) -> TokenStream {
    let Block { krate, attributes, .. } = block;
    let checks = block.handlers.iter().flat_map(|handler| {
        let cfgs = &handler.cfgs;
        let types =
            handler.fields.iter().map(|field| &field.ty).chain(reply(handler).map(|(_, answer)| answer));
        types.map(move |ty| {
            let place = Span::call_site().located_at(ty.span());
            let krate = krate.clone().into_iter().map(|mut token| {
                token.set_span(place);
                token
            });
            let carried = quote_spanned!(place=> #(#krate)*::glue::Carried<#ty>);
            quote! {
                #(#attributes)*
                #(#cfgs)*
                const _: ::core::option::Option<#carried> = ::core::option::Option::None;
            }
        })
    });
    quote! { #(#checks)* }
}

fn variant(block: &Block, handler: &Handler) -> TokenStream {
    let Handler { cfgs, variant, .. } = handler;
    let docs = docs(block, handler);
    let mut fields: Vec<TokenStream> = handler
        .fields
        .iter()
        .map(|Field { docs, name, ty }| {
            let docs = if docs.is_empty() {
                let doc = format!(" The parameter `{}`.", name.unraw());
                quote!(#[doc = #doc])
            } else {
                quote!(#(#docs)*)
            };
            quote!(#docs #name: #ty)
        })
        .collect();
    if let Some((reply, answer)) = reply(handler) {
        let krate = &block.krate;
        fields.push(quote!(#[doc = " Where the answer goes."] #reply: #krate::ReplyTo<#answer>));
    }
    let fields = (!fields.is_empty()).then(|| quote!({ #(#fields),* }));
    quote!(#(#cfgs)* #docs #variant #fields)
}

/// The field of an ask that takes the way back, and what goes that way.
fn reply(handler: &Handler) -> Option<(Ident, &TokenStream)> {
    match &handler.kind {
        Kind::Tell { .. } => None,
        Kind::Ask { answer } => Some((ask_reply(), answer)),
        Kind::AskDeferred { reply, answer } => Some((reply.clone(), answer)),
    }
}

/// The field has this name where the handler says none.
fn ask_reply() -> Ident {
    Ident::new("reply", Span::call_site())
}

/// The variant with its fields by name: a pattern, or an expression where the names have values.
fn with_fields(block: &Block, handler: &Handler) -> TokenStream {
    let (message, variant) = (&block.message, &handler.variant);
    let names = handler.fields.iter().map(|field| field.name.clone());
    let names: Vec<Ident> = names.chain(reply(handler).map(|(reply, _)| reply)).collect();
    if names.is_empty() { quote!(#message::#variant) } else { quote!(#message::#variant { #(#names),* }) }
}

fn actor(block: &Block) -> TokenStream {
    let Block { krate, attributes, self_ty, message, hooks, .. } = block;
    let (told, ctx) = (ours("message"), ours("ctx"));
    let arms = block.handlers.iter().map(|handler| arm(block, handler, &ctx));
    let describe = describe(block);
    quote! {
        #(#attributes)*
        impl #krate::Actor for #self_ty {
            type Message = #message;

            #[allow(deprecated, unused_variables)]
            async fn handle(
                &mut self,
                #told: #message,
                #ctx: &mut #krate::Context<Self>,
            ) -> ::core::result::Result<(), #krate::ExitReason> {
                match #told {
                    #(#arms)*
                }
            }

            #describe

            #(#hooks)*
        }
    }
}

/// A trace names the variant, unless the user has a better description.
fn describe(block: &Block) -> Option<TokenStream> {
    let is_described = block.hooks.iter().any(|hook| match hook {
        ImplItem::Fn(method) => method.sig.ident == "describe",
        _ => false,
    });
    if is_described || block.handlers.is_empty() {
        return None;
    }
    let (message, told) = (&block.message, ours("message"));
    let arms = block.handlers.iter().map(|Handler { cfgs, variant, .. }| {
        let name = variant.to_string();
        quote!(#(#cfgs)* #message::#variant { .. } => #name,)
    });
    Some(quote! {
        fn describe(#told: &#message) -> ::std::borrow::Cow<'static, str> {
            ::std::borrow::Cow::Borrowed(match *#told {
                #(#arms)*
            })
        }
    })
}

fn arm(block: &Block, handler: &Handler, ctx: &Ident) -> TokenStream {
    let Handler { cfgs, method, .. } = handler;
    let krate = &block.krate;
    let arguments = handler.arguments.iter().map(|argument| match argument {
        Argument::Context => ctx,
        Argument::Field(name) => name,
    });
    let place = Span::call_site().located_at(method.span());
    let mut call = quote_spanned!(place=> Self::#method(self, #(#arguments),*));
    if handler.is_async {
        call = quote_spanned!(place=> #call.await);
    }
    let done = quote!(::core::result::Result::Ok(()));
    let body = match (&handler.kind, &handler.returned) {
        (Kind::Tell { .. } | Kind::AskDeferred { .. }, None) => quote!(#call; #done),
        (Kind::Tell { .. } | Kind::AskDeferred { .. }, Some(returned)) => {
            let outcome = Ident::new("outcome", Span::mixed_site().located_at(returned.span()));
            quote!(let #outcome = #call; #krate::glue::Outcome::outcome(#outcome))
        }
        (Kind::Ask { .. }, None) => {
            let reply = ask_reply();
            quote!(#call; #krate::glue::answer(#reply, ()); #done)
        }
        (Kind::Ask { .. }, Some(_)) => {
            let (reply, answer) = (ask_reply(), ours("answer"));
            quote!(let #answer = #call; #krate::glue::answer(#reply, #answer); #done)
        }
    };
    let pattern = with_fields(block, handler);
    quote!(#(#cfgs)* #pattern => { #body })
}

fn client(block: &Block) -> TokenStream {
    let Block { krate, attributes, visibility, message, address, .. } = block;
    let doc = format!(" Sends to a `{}`, on its `Address`.", actor_name(block));
    let methods: Vec<Method> = block.handlers.iter().flat_map(|handler| methods(block, handler)).collect();
    let declared = methods.iter().map(|Method { cfgs, docs, signature, .. }| quote!(#cfgs #docs #signature;));
    let defined =
        methods.iter().map(|Method { cfgs, signature, body, .. }| quote!(#cfgs #signature { #body }));
    quote! {
        #(#attributes)*
        #[doc = #doc]
        #[allow(dead_code, clippy::too_many_arguments)]
        #visibility trait #address {
            #(#declared)*
        }

        #(#attributes)*
        impl #address for #krate::Address<#message> {
            #(#defined)*
        }
    }
}

/// One method of the client.
struct Method {
    cfgs: TokenStream,
    docs: TokenStream,
    signature: TokenStream,
    body: TokenStream,
}

fn methods(block: &Block, handler: &Handler) -> Vec<Method> {
    let Block { krate, message, .. } = block;
    let Handler { cfgs, method, fields, deprecated, .. } = handler;
    let cfgs = quote!(#(#cfgs)*);
    let docs = docs(block, handler);
    let parameters: Vec<TokenStream> =
        fields.iter().map(|Field { name, ty, .. }| quote!(#name: #ty)).collect();
    let made = with_fields(block, handler);
    let told = quote!(::core::result::Result<(), #krate::TellError<#message>>);
    let future_of =
        |output: &TokenStream| quote!(impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    let mut methods = Vec::new();
    match reply(handler) {
        None => {
            let future = future_of(&told);
            methods.push(Method {
                cfgs: cfgs.clone(),
                docs: quote!(#docs #deprecated),
                signature: quote!(fn #method(&self, #(#parameters),*) -> #future),
                body: quote!(#krate::Address::tell(self, #made)),
            });
        }
        Some((reply, answer)) => {
            let timeout = ours("timeout");
            let future = future_of(&quote!(::core::result::Result<#answer, #krate::AskError<#message>>));
            methods.push(Method {
                cfgs: cfgs.clone(),
                docs: quote!(#docs #deprecated),
                signature: quote! {
                    fn #method(&self, #timeout: ::core::time::Duration, #(#parameters),*) -> #future
                },
                body: quote!(#krate::Address::ask(self, #timeout, move |#reply| #made)),
            });
        }
    }
    if let Some(try_method) = handler.try_method() {
        let doc =
            format!(" As [`{0}`](Self::{0}), without waiting: see `Address::try_tell`.", method.unraw());
        methods.push(Method {
            cfgs,
            docs: quote!(#[doc = #doc] #deprecated),
            signature: quote!(fn #try_method(&self, #(#parameters),*) -> #told),
            body: quote!(#krate::Address::try_tell(self, #made)),
        });
    }
    methods
}

fn conversions(block: &Block) -> TokenStream {
    let conversions = block.handlers.iter().filter_map(|handler| match &handler.kind {
        Kind::Tell { converts: Some(carried) } => {
            let (variant, value) = (&handler.variant, conversion::value());
            let name = handler.fields.first().map(|field| &field.name)?;
            let attributes = [&block.attributes[..], &handler.cfgs[..]].concat();
            let variant = quote!(#variant { #name: #value });
            Some(conversion::both_ways(&attributes, &block.message, carried, &variant))
        }
        Kind::Tell { converts: None } | Kind::Ask { .. } | Kind::AskDeferred { .. } => None,
    });
    quote! { #(#conversions)* }
}

/// The handler's documentation, or else which handler it is.
fn docs(block: &Block, handler: &Handler) -> TokenStream {
    if handler.docs.is_empty() {
        let doc = format!(" Handled by `{}::{}`.", actor_name(block), handler.method.unraw());
        quote!(#[doc = #doc])
    } else {
        let docs = &handler.docs;
        quote!(#(#docs)*)
    }
}

fn actor_name(block: &Block) -> String {
    block.self_ty.to_token_stream().to_string().replace(' ', "")
}

/// A name of ours that no name of the user's meets.
fn ours(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
