//! What a message carries: named fields whose types stand outside the impl block, so they borrow nothing and `Self` has
//! its name there.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Meta, Type};

/// One field of a message, and the parameter that it becomes.
pub(crate) struct Field {
    pub(crate) docs: Vec<Attribute>,
    pub(crate) name: Ident,
    pub(crate) ty: TokenStream,
}

/// The type as it reads outside the impl block of `self_ty`, if it can stand in a message.
pub(crate) fn owned(ty: &Type, self_ty: &Type, role: Role) -> Result<TokenStream, syn::Error> {
    let mut borrows = Borrows { role, error: None };
    borrows.visit_type(ty);
    match borrows.error {
        Some(error) => Err(error),
        None => Ok(without_self(ty.to_token_stream(), &self_ty.to_token_stream())),
    }
}

/// For whom a type is owned.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Parameter,
    Answer,
}

impl Role {
    fn why(self) -> &'static str {
        match self {
            Self::Parameter => {
                "a parameter of a handler travels in the message, which outlives the sender's borrows"
            }
            Self::Answer => "the answer leaves the actor, so it cannot borrow from it",
        }
    }

    fn unnamed(self) -> &'static str {
        match self {
            Self::Parameter => "a parameter of a handler is a field of the message, whose type needs a name",
            Self::Answer => "the answer travels in a `ReplyTo<T>`, so its type needs a name",
        }
    }
}

/// Finds what borrows from outside the type. What a function pointer or a closure borrows is its caller's affair.
struct Borrows {
    role: Role,
    error: Option<syn::Error>,
}

impl Borrows {
    fn refuse(&mut self, at: impl ToTokens, reason: &str, remedy: &str) {
        let error = syn::Error::new_spanned(at, format!("{reason}: {remedy}"));
        self.error.get_or_insert(error);
    }
}

impl<'ast> Visit<'ast> for Borrows {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        if reference.lifetime.is_none() {
            let reason = self.role.why();
            self.refuse(reference, reason, "take an owned type, such as `String` for `&str`");
        }
        visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if lifetime.ident == "_" {
            let reason = self.role.why();
            self.refuse(lifetime, reason, "take an owned type, or `'static`");
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        let reason = self.role.unnamed();
        self.refuse(ty, reason, "write a concrete type, or `Box<dyn Trait + Send>`");
    }

    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}

    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast syn::ParenthesizedGenericArguments) {}
}

fn without_self(tokens: TokenStream, self_ty: &TokenStream) -> TokenStream {
    let replaced = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(ident) if ident == "Self" => self_ty.clone(),
        TokenTree::Group(group) => {
            let mut inside = Group::new(group.delimiter(), without_self(group.stream(), self_ty));
            inside.set_span(group.span());
            TokenTree::from(inside).into()
        }
        TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => token.into(),
    });
    replaced.collect()
}

/// The documentation among the attributes. Links through `Self` go to the actor wherever the text is shown.
pub(crate) fn docs(attributes: &[Attribute], self_ty: &Type) -> Vec<Attribute> {
    let named = format!("{}::", self_ty.to_token_stream());
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).cloned();
    docs.map(|mut attribute| {
        if let Meta::NameValue(doc) = &mut attribute.meta
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &mut doc.value
        {
            let linked = text
                .value()
                .replace("[`Self::", &format!("[`{named}"))
                .replace("[Self::", &format!("[{named}"));
            *text = syn::LitStr::new(&linked, text.span());
        }
        attribute
    })
    .collect()
}

/// Splits a parameter's own documentation off: the compiler allows none there.
pub(crate) fn take_docs(attributes: &mut Vec<Attribute>, self_ty: &Type) -> Vec<Attribute> {
    let taken = docs(attributes, self_ty);
    attributes.retain(|attribute| !attribute.path().is_ident("doc"));
    taken
}
