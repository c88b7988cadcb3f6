//! The marks of a block's items: what is a handler, of which form, and what is a hook.

use syn::punctuated::Punctuated;
use syn::{Attribute, Ident, Meta, Token};

pub(crate) const FORMS: &str = "write one of\n\n    \
    #[tell] async fn add(&mut self, n: u64) { .. }\n    \
    #[ask] fn total(&self) -> u64 { .. }\n    \
    #[ask(deferred)] fn later(&mut self, reply: ReplyTo<u64>) { .. }\n    \
    #[hook] async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> { .. }";

/// What an attribute makes of an item of the block.
pub(crate) enum Mark {
    Handler(Form),
    Hook,
}

/// How a handler is sent to, and how it answers.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Tell,
    TellFrom,
    Ask,
    AskDeferred,
}

impl Mark {
    /// Takes the mark off an item. None if it has none.
    pub(crate) fn take(attributes: &mut Vec<Attribute>) -> Result<Option<Self>, syn::Error> {
        let is_mark = |attribute: &Attribute| {
            ["tell", "ask", "hook"].iter().any(|mark| attribute.path().is_ident(mark))
        };
        let mut marks: Vec<Attribute> = attributes.extract_if(.., |attribute| is_mark(attribute)).collect();
        let mark = marks.pop();
        match mark {
            Some(mark) if marks.is_empty() => Self::parse(&mark).map(Some),
            Some(second) => {
                Err(syn::Error::new_spanned(second, format!("an item has one mark at most; {FORMS}")))
            }
            None => Ok(None),
        }
    }

    fn parse(attribute: &Attribute) -> Result<Self, syn::Error> {
        let options: Vec<Ident> = match &attribute.meta {
            Meta::Path(_) => Vec::new(),
            Meta::List(list) => {
                let options = list.parse_args_with(Punctuated::<Ident, Token![,]>::parse_terminated)?;
                options.into_iter().collect()
            }
            Meta::NameValue(_) => {
                return Err(syn::Error::new_spanned(attribute, format!("a mark has no value; {FORMS}")));
            }
        };
        let (is_tell, is_ask) = (attribute.path().is_ident("tell"), attribute.path().is_ident("ask"));
        match options.as_slice() {
            [] if is_tell => Ok(Self::Handler(Form::Tell)),
            [] if is_ask => Ok(Self::Handler(Form::Ask)),
            [] => Ok(Self::Hook),
            [option] if is_tell && option == "from" => Ok(Self::Handler(Form::TellFrom)),
            [option] if is_ask && option == "deferred" => Ok(Self::Handler(Form::AskDeferred)),
            [option, ..] => {
                let takes = if is_tell {
                    "`#[tell]` takes nothing, or `from`"
                } else if is_ask {
                    "`#[ask]` takes nothing, or `deferred`"
                } else {
                    "`#[hook]` takes nothing"
                };
                Err(syn::Error::new_spanned(option, format!("{takes}; {FORMS}")))
            }
        }
    }
}
