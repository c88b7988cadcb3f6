//! `#[actor]`: from an impl block to its handlers, its hooks and what is left of it.
//!
//! With an error in one item, all that the others give is made all the same, so that the compiler complains of nothing
//! else. With an error in the block as a whole, the block stays alone, without its marks.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Ident, ImplItem, ItemImpl, ReceiverKind, Signature, Type, Visibility};

use crate::arguments::Arguments;
use crate::handler::{self, Handler};
use crate::mark::{FORMS, Mark};
use crate::output;

const FORM: &str = "write\n\n    \
    #[actor]\n    \
    impl MyActor {\n        \
        #[tell] fn add(&mut self, n: u64) { .. }\n        \
        #[ask] fn total(&self) -> u64 { .. }\n    \
    }";

/// A method of the trait `Actor` that a user may write.
struct Hook {
    name: &'static str,
    /// Works on `&mut self`.
    on_actor: bool,
    /// Those beside `self`.
    parameters: usize,
}

/// Only needed to notice a hook that was not marked: marked ones are checked against the trait itself, by the compiler.
const HOOKS: &[Hook] = &[
    Hook { name: "bytes_of", on_actor: false, parameters: 1 },
    Hook { name: "code_change", on_actor: true, parameters: 2 },
    Hook { name: "describe", on_actor: false, parameters: 1 },
    Hook { name: "hibernate", on_actor: true, parameters: 0 },
    Hook { name: "on_exit", on_actor: false, parameters: 1 },
    Hook { name: "priority", on_actor: false, parameters: 1 },
    Hook { name: "signal", on_actor: true, parameters: 2 },
    Hook { name: "start", on_actor: true, parameters: 1 },
    Hook { name: "state", on_actor: true, parameters: 0 },
    Hook { name: "stop", on_actor: true, parameters: 2 },
];

impl Hook {
    fn looks_like(&self, sig: &Signature) -> bool {
        let on_actor = sig.receiver().is_some();
        let is_exclusive = matches!(
            sig.receiver().map(|receiver| &receiver.kind),
            Some(ReceiverKind::Reference(_, _, Some(_)))
        );
        sig.ident == self.name
            && on_actor == self.on_actor
            && is_exclusive == self.on_actor
            && sig.inputs.len() - usize::from(on_actor) == self.parameters
    }
}

/// What one impl block says about an actor.
pub(crate) struct Block {
    pub(crate) krate: TokenStream,
    pub(crate) self_ty: Type,
    pub(crate) message: Ident,
    pub(crate) address: Ident,
    pub(crate) visibility: Visibility,
    pub(crate) derives: Option<Vec<syn::Path>>,
    /// `cfg` and `allow` attributes of the block, which hold for all that is made of it.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) hooks: Vec<ImplItem>,
}

/// The expansion, and what is wrong with the input.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> (TokenStream, Vec<syn::Error>) {
    let mut block = match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Impl(block)) => block,
        Ok(other) => {
            let error = format!("#[actor] stands on an impl block; {FORM}");
            return (item, vec![syn::Error::new_spanned(other, error)]);
        }
        Err(error) => return (item, vec![error]),
    };
    let mut errors = Vec::new();
    let (handlers, hooks) = take_marked(&mut block, &mut errors);
    let name = match check_block(&block) {
        Ok(name) => name,
        Err(error) => {
            // What the trait lacks is not the user's to write.
            block.trait_.take_if(|(path, _)| path.segments.last().is_some_and(|last| last.ident == "Actor"));
            return (block.into_token_stream(), vec![error]);
        }
    };
    let arguments = match Arguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            errors.push(error);
            Arguments::default()
        }
    };
    if handlers.is_empty() && hooks.is_empty() && errors.is_empty() {
        let error = format!("no method of this block is marked as a handler; {FORMS}");
        let error = syn::Error::new_spanned(&block.self_ty, error);
        return (block.into_token_stream(), vec![error]);
    }
    let handlers = without_clashes(handlers, &mut errors);
    let krate = arguments.krate();
    let model = Block {
        krate,
        self_ty: block.self_ty.as_ref().clone(),
        message: arguments.message.unwrap_or_else(|| format_ident!("{name}Message")),
        address: arguments.address.unwrap_or_else(|| format_ident!("{name}Address")),
        visibility: arguments.visibility.unwrap_or_else(|| common_visibility(&handlers, &mut errors)),
        derives: arguments.derives,
        attributes: ["cfg", "allow"].iter().flat_map(|name| handler::with_path(&block.attrs, name)).collect(),
        handlers,
        hooks,
    };
    let made = output::all(&model);
    (quote! { #block #made }, errors)
}

/// Handlers stay in the block without their marks; hooks leave it.
fn take_marked(block: &mut ItemImpl, errors: &mut Vec<syn::Error>) -> (Vec<Handler>, Vec<ImplItem>) {
    let (mut handlers, mut hooks) = (Vec::new(), Vec::new());
    for mut item in std::mem::take(&mut block.items) {
        let Some(attributes) = attributes(&mut item) else {
            block.items.push(item);
            continue;
        };
        match Mark::take(attributes) {
            Ok(None) => {
                if let ImplItem::Fn(method) = &item
                    && HOOKS.iter().any(|hook| hook.looks_like(&method.sig))
                {
                    let name = &method.sig.ident;
                    errors.push(syn::Error::new_spanned(
                        name,
                        format!(
                            "nobody would call this: mark it `#[hook]` if it is `Actor::{name}`, or rename it"
                        ),
                    ));
                }
                block.items.push(item);
            }
            Ok(Some(Mark::Hook)) => match &item {
                ImplItem::Fn(method) if method.sig.ident == "handle" => {
                    errors.push(syn::Error::new_spanned(
                        &method.sig.ident,
                        format!("`Actor::handle` is made of the handlers: mark those; {FORMS}"),
                    ));
                    block.items.push(item);
                }
                ImplItem::Fn(_) => hooks.push(item),
                other => {
                    errors.push(syn::Error::new_spanned(other, format!("a hook is a method; {FORMS}")));
                    block.items.push(other.clone());
                }
            },
            Ok(Some(Mark::Handler(form))) => {
                match &mut item {
                    ImplItem::Fn(method) => match Handler::of(form, method, &block.self_ty) {
                        Ok(handler) => handlers.push(handler),
                        Err(error) => errors.push(error),
                    },
                    other => {
                        errors
                            .push(syn::Error::new_spanned(other, format!("a handler is a method; {FORMS}")));
                    }
                }
                block.items.push(item);
            }
            Err(error) => {
                errors.push(error);
                block.items.push(item);
            }
        }
    }
    (handlers, hooks)
}

fn attributes(item: &mut ImplItem) -> Option<&mut Vec<Attribute>> {
    match item {
        ImplItem::Const(item) => Some(&mut item.attrs),
        ImplItem::Fn(item) => Some(&mut item.attrs),
        ImplItem::Type(item) => Some(&mut item.attrs),
        ImplItem::Macro(item) => Some(&mut item.attrs),
        // Syntax that syn does not know, or will know later.
        _ => None,
    }
}

/// The name of the actor that the block is for.
fn check_block(block: &ItemImpl) -> Result<Ident, syn::Error> {
    if let Some((path, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(
            path,
            format!(
                "#[actor] writes the impl of `Actor` itself, and stands on a block without a trait; {FORM}"
            ),
        ));
    }
    let why = "one type of message serves one type of actor";
    if let Some(first) = block.generics.params.first() {
        return Err(syn::Error::new_spanned(
            first,
            format!("{why}: write the block for a concrete type, or write `impl Actor` by hand"),
        ));
    }
    if let Some(clause) = &block.generics.where_clause {
        return Err(syn::Error::new_spanned(
            clause,
            format!("{why}, so a where clause has nothing to say here"),
        ));
    }
    match block.self_ty.as_ref() {
        Type::Path(path) if path.qself.is_none() => match path.path.segments.last() {
            Some(last) => Ok(last.ident.clone()),
            None => Err(syn::Error::new_spanned(path, FORM)),
        },
        other => Err(syn::Error::new_spanned(other, format!("the message is named after the actor; {FORM}"))),
    }
}

/// Two handlers that are there at the same time have different variants and client methods. Of two that have not, the first
/// is kept.
fn without_clashes(handlers: Vec<Handler>, errors: &mut Vec<syn::Error>) -> Vec<Handler> {
    let mut kept: Vec<Handler> = Vec::new();
    for later in handlers {
        match kept.iter().find_map(|earlier| clash(earlier, &later)) {
            Some(problem) => errors.push(syn::Error::new_spanned(&later.method, problem)),
            None => kept.push(later),
        }
    }
    kept
}

fn clash(earlier: &Handler, later: &Handler) -> Option<String> {
    let (one, other) = (&earlier.method, &later.method);
    if !earlier.cfgs.is_empty() || !later.cfgs.is_empty() {
        None
    } else if earlier.variant == later.variant {
        Some(format!("`{one}` and `{other}` would both be `{}`: rename one", later.variant))
    } else if earlier.try_method().is_some_and(|name| name == *other) {
        Some(format!("`{other}` is how a client sends `{one}` without waiting: rename one"))
    } else if later.try_method().is_some_and(|name| name == *one) {
        Some(format!("`{one}` would be how a client sends `{other}` without waiting: rename one"))
    } else {
        None
    }
}

/// Handlers are seen alike, since their messages are one type.
fn common_visibility(handlers: &[Handler], errors: &mut Vec<syn::Error>) -> Visibility {
    let Some(first) = handlers.first() else { return Visibility::Inherited };
    let seen = |handler: &Handler| handler.visibility.to_token_stream().to_string();
    if let Some(other) = handlers.iter().find(|handler| seen(handler) != seen(first)) {
        errors.push(syn::Error::new_spanned(
            &other.method,
            format!(
                "`{}` and `{}` are not seen alike, but their message is one: say how far it is seen, as in `#[actor(pub)]`",
                first.method, other.method
            ),
        ));
    }
    first.visibility.clone()
}

#[cfg(test)]
mod tests;
