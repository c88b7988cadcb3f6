//! What stands in the brackets of `#[actor(..)]`: how far the message is seen, names, derives, the path of the crate.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Ident, Path, Token, Visibility, parenthesized};

const FORM: &str = "write `#[actor]`, or some of\n\n    \
    #[actor(pub, message = Name, address = Name, derive(Debug), crate = path)]";

/// All optional; each at most once.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) visibility: Option<Visibility>,
    pub(crate) message: Option<Ident>,
    pub(crate) address: Option<Ident>,
    pub(crate) derives: Option<Vec<Path>>,
    pub(crate) krate: Option<Path>,
}

impl Arguments {
    pub(crate) fn parse(arguments: TokenStream) -> Result<Self, syn::Error> {
        let mut parsed = Self::default();
        for argument in Punctuated::<Argument, Token![,]>::parse_terminated.parse2(arguments)? {
            let Argument { name, value } = argument;
            let is_first = match value {
                Value::Visibility(value) => parsed.visibility.replace(value).is_none(),
                Value::Message(value) => parsed.message.replace(value).is_none(),
                Value::Address(value) => parsed.address.replace(value).is_none(),
                Value::Derives(value) => parsed.derives.replace(value).is_none(),
                Value::Crate(value) => parsed.krate.replace(value).is_none(),
            };
            if !is_first {
                return Err(syn::Error::new(name.span(), format!("`{name}` is said twice")));
            }
        }
        Ok(parsed)
    }

    /// The path of airssys-rt.
    pub(crate) fn krate(&self) -> TokenStream {
        match &self.krate {
            Some(path) => quote!(#path),
            None => quote!(::airssys_rt),
        }
    }
}

struct Argument {
    name: Ident,
    value: Value,
}

enum Value {
    Visibility(Visibility),
    Message(Ident),
    Address(Ident),
    Derives(Vec<Path>),
    Crate(Path),
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name =
            input.fork().call(Ident::parse_any).map_err(|error| syn::Error::new(error.span(), FORM))?;
        if name == "pub" {
            return Ok(Self { name, value: Value::Visibility(input.parse()?) });
        }
        let name = input.call(Ident::parse_any)?;
        let value = match name.to_string().as_str() {
            "message" => Value::Message(assigned(input)?),
            "address" => Value::Address(assigned(input)?),
            "crate" => Value::Crate(assigned(input)?),
            "derive" => {
                let list;
                parenthesized!(list in input);
                let paths = list.call(Punctuated::<Path, Token![,]>::parse_terminated)?;
                Value::Derives(paths.into_iter().collect())
            }
            other => {
                return Err(syn::Error::new(
                    name.span(),
                    format!("`{other}` is no argument of #[actor]; {FORM}"),
                ));
            }
        };
        Ok(Self { name, value })
    }
}

fn assigned<T: Parse>(input: ParseStream<'_>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}
