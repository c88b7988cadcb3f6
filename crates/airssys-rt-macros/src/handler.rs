//! One method as a handler: what its message carries, how it is called, how it answers.
//!
//! A method that cannot be one is refused with an error on the culprit; the others of the block go on.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{
    Attribute, FnArg, GenericArgument, Ident, ImplItemFn, Pat, PathArguments, PathSegment, ReceiverKind,
    ReturnType, Safety, Type, Visibility,
};

use crate::field::{self, Field, Role};
use crate::mark::Form;

/// Methods of `Address`, and of traits that every module sees. A handler of such a name would have a client method that
/// nobody can call.
pub(crate) const HIDDEN: &[&str] = &[
    "ask",
    "clone",
    "clone_from",
    "downgrade",
    "exit",
    "id",
    "into",
    "is_alive",
    "name",
    "overflow",
    "recipient",
    "set_capacity",
    "stats",
    "sys",
    "tell",
    "tell_beyond_capacity",
    "to_owned",
    "try_into",
    "try_tell",
    "try_tell_until",
];

/// A method that handles one kind of message.
pub(crate) struct Handler {
    pub(crate) kind: Kind,
    pub(crate) method: Ident,
    pub(crate) variant: Ident,
    pub(crate) visibility: Visibility,
    /// `cfg` attributes, which hold for all that is made of the method.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) deprecated: Option<Attribute>,
    /// What the sender gives, in order; not the `ReplyTo`.
    pub(crate) fields: Vec<Field>,
    /// How the method is called, in order.
    pub(crate) arguments: Vec<Argument>,
    pub(crate) is_async: bool,
    /// None where the method returns nothing.
    pub(crate) returned: Option<Type>,
}

pub(crate) enum Kind {
    Tell {
        /// The type of the one field, where the message converts from and to it.
        converts: Option<TokenStream>,
    },
    /// The method's return value is the answer.
    Ask { answer: TokenStream },
    /// The method takes the `ReplyTo` by this name.
    AskDeferred { reply: Ident, answer: TokenStream },
}

pub(crate) enum Argument {
    Context,
    Field(Ident),
}

impl Handler {
    /// Reads a method that is marked as a handler of this form, and takes from it what the compiler would not allow there.
    pub(crate) fn of(form: Form, method: &mut ImplItemFn, self_ty: &Type) -> Result<Self, syn::Error> {
        check_shape(method)?;
        let variant = variant(&method.sig.ident)?;
        let Parameters { fields, arguments, reply } = Parameters::of(form, method, self_ty)?;
        let returned = match &method.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) if is_unit(ty) => None,
            ReturnType::Type(_, ty) => Some(ty.as_ref().clone()),
        };
        let kind = match form {
            Form::Tell => Kind::Tell { converts: None },
            Form::TellFrom => match fields.as_slice() {
                [only] => Kind::Tell { converts: Some(only.ty.clone()) },
                _ => {
                    return Err(syn::Error::new_spanned(
                        &method.sig.ident,
                        "`#[tell(from)]` makes the message out of one value: write one parameter beside the context",
                    ));
                }
            },
            Form::Ask => {
                let answer = match &returned {
                    Some(ty) => field::owned(ty, self_ty, Role::Answer)?,
                    None => quote!(()),
                };
                Kind::Ask { answer }
            }
            Form::AskDeferred => match reply {
                Some((reply, answer)) => Kind::AskDeferred { reply, answer },
                None => {
                    return Err(syn::Error::new_spanned(
                        &method.sig.ident,
                        "a deferred ask keeps the way back of its answer: write a parameter `reply: ReplyTo<Answer>`",
                    ));
                }
            },
        };
        Ok(Self {
            kind,
            method: method.sig.ident.clone(),
            variant,
            visibility: method.vis.clone(),
            cfgs: with_path(&method.attrs, "cfg"),
            docs: field::docs(&method.attrs, self_ty),
            deprecated: with_path(&method.attrs, "deprecated").pop(),
            fields,
            arguments,
            is_async: method.sig.asyncness.is_some(),
            returned,
        })
    }

    /// The client method that sends without waiting, where there is one.
    pub(crate) fn try_method(&self) -> Option<Ident> {
        match self.kind {
            Kind::Tell { .. } => {
                Some(format_ident!("try_{}", self.method.unraw(), span = self.method.span()))
            }
            Kind::Ask { .. } | Kind::AskDeferred { .. } => None,
        }
    }
}

/// The attributes of this name.
pub(crate) fn with_path(attributes: &[Attribute], name: &str) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident(name)).cloned().collect()
}

/// The method lends itself to being called by nobody but the actor, with nothing but a message.
fn check_shape(method: &ImplItemFn) -> Result<(), syn::Error> {
    let sig = &method.sig;
    if let Some(first) = sig.generics.params.first() {
        return Err(syn::Error::new_spanned(
            first,
            "a handler is not generic, since its message is of one type: write concrete, owned types",
        ));
    }
    if let Some(clause) = &sig.generics.where_clause {
        return Err(syn::Error::new_spanned(clause, "a handler is not generic and needs no where clause"));
    }
    if let Safety::Unsafe(token) = &sig.safety {
        return Err(syn::Error::new_spanned(
            token,
            "a handler is called for every message, so it cannot be unsafe: check what it needs and refuse the message",
        ));
    }
    let receiver = match sig.receiver() {
        Some(receiver) => receiver,
        None => {
            return Err(syn::Error::new_spanned(
                &sig.ident,
                "a handler works on the actor: take `&self` or `&mut self` first",
            ));
        }
    };
    match &receiver.kind {
        ReceiverKind::Reference(_, None, _) => {}
        _ => {
            return Err(syn::Error::new_spanned(
                receiver,
                "the actor outlives a message: take `&self` or `&mut self`",
            ));
        }
    }
    let name = sig.ident.unraw().to_string();
    if HIDDEN.contains(&name.as_str()) {
        return Err(syn::Error::new_spanned(
            &sig.ident,
            format!(
                "`address.{name}(..)` already has a meaning, which would hide the client method: rename the handler"
            ),
        ));
    }
    Ok(())
}

/// The method's parameters, sorted by what they are for.
struct Parameters {
    fields: Vec<Field>,
    arguments: Vec<Argument>,
    /// The `ReplyTo` that a deferred ask keeps, and what it answers with.
    reply: Option<(Ident, TokenStream)>,
}

impl Parameters {
    fn of(form: Form, method: &mut ImplItemFn, self_ty: &Type) -> Result<Self, syn::Error> {
        let mut parameters = Self { fields: Vec::new(), arguments: Vec::new(), reply: None };
        for input in &mut method.sig.inputs {
            let FnArg::Typed(parameter) = input else { continue };
            let docs = field::take_docs(&mut parameter.attrs, self_ty);
            if let Some(cfg) = with_path(&parameter.attrs, "cfg").first() {
                return Err(syn::Error::new_spanned(
                    cfg,
                    "a parameter of a handler is always there: put the `cfg` on the handler, and write two of them",
                ));
            }
            if is_context(&parameter.ty) {
                parameters.arguments.push(Argument::Context);
                continue;
            }
            let name = match parameter.pat.as_ref() {
                Pat::Ident(pattern) => pattern.ident.clone(),
                other => {
                    return Err(syn::Error::new_spanned(
                        other,
                        "a parameter of a handler names a field of the message: write `name: Type`",
                    ));
                }
            };
            parameters.arguments.push(Argument::Field(name.clone()));
            match (form, reply_to(&parameter.ty)) {
                (Form::AskDeferred, Some(answer)) => {
                    if parameters.reply.is_some() {
                        return Err(syn::Error::new_spanned(
                            &parameter.ty,
                            "a request has one answer: write one `ReplyTo<..>`",
                        ));
                    }
                    parameters.reply = Some((name, field::owned(answer, self_ty, Role::Answer)?));
                }
                (Form::Ask, _) if name == "reply" => {
                    return Err(syn::Error::new_spanned(
                        &name,
                        "the field `reply` takes the answer: rename the parameter, or, if the handler is to keep the \
                         `ReplyTo`, mark it `#[ask(deferred)]`",
                    ));
                }
                (Form::Tell | Form::TellFrom | Form::Ask | Form::AskDeferred, _) => {
                    let ty = field::owned(&parameter.ty, self_ty, Role::Parameter)?;
                    parameters.fields.push(Field { docs, name, ty });
                }
            }
        }
        Ok(parameters)
    }
}

/// `add_all` is handled as `AddAll`.
fn variant(method: &Ident) -> Result<Ident, syn::Error> {
    let mut name = String::new();
    for word in method.unraw().to_string().split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
    match syn::parse_str::<Ident>(&name) {
        Ok(_) => Ok(Ident::new(&name, method.span())),
        Err(_) => Err(syn::Error::new_spanned(
            method,
            format!("the handler's name gives that of a variant, and `{name}` is none: rename the handler"),
        )),
    }
}

fn is_context(ty: &Type) -> bool {
    match plain(ty) {
        Type::Reference(reference) => {
            last_segment(&reference.elem).is_some_and(|last| last.ident == "Context")
        }
        _ => false,
    }
}

/// The `R` of `ReplyTo<R>`.
fn reply_to(ty: &Type) -> Option<&Type> {
    let last = last_segment(ty).filter(|last| last.ident == "ReplyTo")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(answer) => Some(answer),
            _ => None,
        },
        PathArguments::None | PathArguments::Parenthesized(_) => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match plain(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// Without the invisible brackets that another macro may have put around it.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        other => other,
    }
}

fn is_unit(ty: &Type) -> bool {
    matches!(plain(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}
