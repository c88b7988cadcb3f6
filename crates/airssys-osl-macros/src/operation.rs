//! `#[derive(Operation)]`: from a struct to what it says of itself.

use proc_macro2::TokenStream;
use syn::{Attribute, Data, DeriveInput, Field, Fields, Generics, Ident, Type};

use crate::attribute::{Audited, Options, Stated};
use crate::output;

const FORM: &str = "write\n\n    \
    #[derive(Operation)]\n    \
    #[operation(name = \"mail.send\")]\n    \
    struct Mail {\n        \
        #[access(own = \"send\")]\n        \
        to: Name,\n    \
    }";

/// What one struct says.
pub(crate) struct Statement {
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) options: Options,
    /// Of the struct as a whole.
    pub(crate) stated: Vec<Stated>,
    pub(crate) parts: Vec<Part>,
}

/// A field that matters.
pub(crate) struct Part {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) stated: Vec<Stated>,
    pub(crate) audited: Option<Audited>,
    pub(crate) is_counted: bool,
}

/// The expansion, and what is wrong with the input. With anything wrong there is no expansion: an operation that states less
/// than it does must not be.
pub(crate) fn expand(item: TokenStream) -> (TokenStream, Vec<syn::Error>) {
    let input = match syn::parse2::<DeriveInput>(item) {
        Ok(input) => input,
        Err(error) => return (TokenStream::new(), vec![error]),
    };
    match read(input) {
        Ok(statement) => (output::statement(&statement), Vec::new()),
        Err(errors) => (TokenStream::new(), errors),
    }
}

fn read(input: DeriveInput) -> Result<Statement, Vec<syn::Error>> {
    let DeriveInput { attrs, ident, generics, data, .. } = input;
    let fields = match data {
        Data::Struct(data) => data.fields,
        Data::Enum(_) | Data::Union(_) => {
            let error = format!("an operation is one struct, so that it does one thing; {FORM}");
            return Err(vec![syn::Error::new_spanned(&ident, error)]);
        }
    };
    let fields = match fields {
        Fields::Named(fields) => fields.named.into_iter().collect(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(fields) => {
            let error = format!("fields of an operation have names; {FORM}");
            return Err(vec![syn::Error::new_spanned(&fields, error)]);
        }
    };
    let mut errors = Vec::new();
    if let Some(lifetime) = generics.lifetimes().next() {
        errors.push(syn::Error::new_spanned(
            lifetime,
            "an operation outlives whoever asks for it: let it own what it holds",
        ));
    }
    let options = Options::of(&attrs, &ident).map_err(|error| errors.push(error)).ok();
    let stated = stated(&attrs, &mut errors);
    if let Some(attribute) = find(&attrs, "audit").or(find(&attrs, "bytes")) {
        errors.push(syn::Error::new_spanned(attribute, "this stands on a field"));
    }
    for stated in &stated {
        if !matches!(stated, Stated::Host(_)) {
            let error = "of these only `clock`, `random` and `info` stand on the struct; the others stand on the field that they are about";
            errors.push(syn::Error::new_spanned(find(&attrs, "access"), error));
        }
    }
    let parts: Vec<Part> = fields.into_iter().filter_map(|field| part(field, &mut errors)).collect();
    for port in parts.iter().flat_map(|part| &part.stated).filter_map(|stated| match stated {
        Stated::Net { port, .. } => port.as_ref(),
        Stated::File(_) | Stated::Env | Stated::Secret | Stated::Own(_) | Stated::Host(_) => None,
    }) {
        if !parts.iter().any(|part| part.name == *port) {
            let error = format!("`{ident}` has no field `{port}`, which is to be the port");
            errors.push(syn::Error::new(port.span(), error));
        }
    }
    let is_silent = stated.is_empty() && parts.iter().all(|part| part.stated.is_empty());
    if is_silent && errors.is_empty() {
        let error = format!(
            "`{ident}` accesses nothing, so it would always be denied: mark what it is about; {FORM}"
        );
        errors.push(syn::Error::new_spanned(&ident, error));
    }
    match options {
        Some(options) if errors.is_empty() => Ok(Statement { ident, generics, options, stated, parts }),
        Some(_) | None => Err(errors),
    }
}

fn part(field: Field, errors: &mut Vec<syn::Error>) -> Option<Part> {
    let name = field.ident?;
    let stated = stated(&field.attrs, errors);
    for stated in &stated {
        if let Stated::Host(what) = stated {
            errors
                .push(syn::Error::new(what.span(), format!("`{what}` stands on the struct: no field is it")));
        }
    }
    if let Some(attribute) = find(&field.attrs, "operation") {
        errors.push(syn::Error::new_spanned(attribute, "this stands on the struct"));
    }
    let mut audits = field.attrs.iter().filter(|attribute| attribute.path().is_ident("audit"));
    let audited =
        audits.next().and_then(|attribute| Audited::of(attribute).map_err(|error| errors.push(error)).ok());
    if let Some(second) = audits.next() {
        errors.push(syn::Error::new_spanned(second, "`audit` is said twice"));
    }
    let is_counted = match find(&field.attrs, "bytes") {
        Some(attribute) if !matches!(attribute.meta, syn::Meta::Path(_)) => {
            errors.push(syn::Error::new_spanned(attribute, "write `#[bytes]`"));
            false
        }
        found => found.is_some(),
    };
    let cfgs = field.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect();
    Some(Part { name, ty: field.ty, cfgs, stated, audited, is_counted })
}

fn stated(attributes: &[Attribute], errors: &mut Vec<syn::Error>) -> Vec<Stated> {
    let mut all = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("access")) {
        match Stated::all_of(attribute) {
            Ok(stated) => all.extend(stated),
            Err(error) => errors.push(error),
        }
    }
    all
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.path().is_ident(name))
}

#[cfg(test)]
mod tests;
