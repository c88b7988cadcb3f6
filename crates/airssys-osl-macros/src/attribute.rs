//! What stands in the brackets of `#[operation(..)]`, `#[access(..)]` and `#[audit(..)]`.

use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Ident, LitStr, Path, Token};

/// What is done with a file, as policies call it.
pub(crate) const FILE_VERBS: &[&str] =
    &["read", "write", "create", "remove", "stat", "list", "link", "watch"];
/// What is done with the network, as policies call it.
pub(crate) const NET_VERBS: &[&str] = &["connect", "listen", "send", "bind", "resolve"];
/// What is used of the host, as policies call it.
pub(crate) const FACILITIES: &[&str] = &["clock", "random", "info"];

const ACCESS: &str = "write one of\n\n    \
    #[access(read)]                   on a `FilePath`, also write, create, remove, stat, list, link, watch\n    \
    #[access(connect, port = field)]  on a `Host`, also listen, send, bind\n    \
    #[access(resolve)]                on a `Host`\n    \
    #[access(own = \"verb\")]           on a `Name`\n    \
    #[access(env)]                    on a `Name`, also secret\n    \
    #[access(clock)]                  on the struct, also random, info";
const OPERATION: &str = "write `#[operation(name = \"mail.send\")]`, with `, crate = path` if need be";
const AUDIT: &str =
    "write `#[audit]` or `#[audit(redact)]`, with `name = \"shown\"` if it has another name in records";

/// Longest name of an operation and of what it does, as everywhere.
const NAME_BYTES_MAX: usize = 256;

/// `#[operation(..)]`.
pub(crate) struct Options {
    pub(crate) name: LitStr,
    pub(crate) krate: Option<Path>,
}

/// One access of a field, or of the struct.
pub(crate) enum Stated {
    File(Ident),
    Net { verb: Ident, port: Option<Ident> },
    Env,
    Secret,
    Own(LitStr),
    Host(Ident),
}

/// How a field is shown in records.
pub(crate) struct Audited {
    pub(crate) is_redacted: bool,
    pub(crate) name: Option<LitStr>,
}

/// `word`, `word = "text"` or `word = path`.
struct Argument {
    word: Ident,
    value: Option<Value>,
}

enum Value {
    Text(LitStr),
    Path(Path),
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let word = input.call(Ident::parse_any)?;
        if !input.peek(Token![=]) {
            return Ok(Self { word, value: None });
        }
        input.parse::<Token![=]>()?;
        let value = match input.peek(LitStr) {
            true => Value::Text(input.parse()?),
            false => Value::Path(input.call(Path::parse_mod_style)?),
        };
        Ok(Self { word, value: Some(value) })
    }
}

fn arguments(attribute: &Attribute, form: &str) -> Result<Vec<Argument>, syn::Error> {
    let parsed = attribute.parse_args_with(Punctuated::<Argument, Token![,]>::parse_terminated);
    let arguments = parsed.map_err(|error| syn::Error::new(error.span(), form))?;
    match arguments.is_empty() {
        true => Err(syn::Error::new_spanned(attribute, form)),
        false => Ok(arguments.into_iter().collect()),
    }
}

impl Options {
    /// From the attributes of the struct.
    pub(crate) fn of(attributes: &[Attribute], at: &Ident) -> Result<Self, syn::Error> {
        let mut named = attributes.iter().filter(|attribute| attribute.path().is_ident("operation"));
        let Some(attribute) = named.next() else {
            return Err(syn::Error::new_spanned(at, format!("an operation has a name: {OPERATION}")));
        };
        if let Some(second) = named.next() {
            return Err(syn::Error::new_spanned(second, "`operation` is said twice"));
        }
        let (mut name, mut krate) = (None, None);
        for Argument { word, value } in arguments(attribute, OPERATION)? {
            let is_first = match (word.to_string().as_str(), value) {
                ("name", Some(Value::Text(text))) => name.replace(text).is_none(),
                ("crate", Some(Value::Path(path))) => krate.replace(path).is_none(),
                _ => return Err(syn::Error::new(word.span(), OPERATION)),
            };
            if !is_first {
                return Err(syn::Error::new(word.span(), format!("`{word}` is said twice")));
            }
        }
        let name = name.ok_or_else(|| syn::Error::new_spanned(attribute, OPERATION))?;
        check_name(&name)?;
        Ok(Self { name, krate })
    }
}

impl Stated {
    /// From one `#[access(..)]`.
    pub(crate) fn all_of(attribute: &Attribute) -> Result<Vec<Self>, syn::Error> {
        let (mut all, mut port) = (Vec::new(), None);
        for Argument { word, value } in arguments(attribute, ACCESS)? {
            let text = word.to_string();
            let stated = match (text.as_str(), value) {
                ("port", Some(Value::Path(path))) => {
                    let field = path.require_ident().map_err(|_| syn::Error::new(word.span(), ACCESS))?;
                    if port.replace(field.clone()).is_some() {
                        return Err(syn::Error::new(word.span(), "`port` is said twice"));
                    }
                    continue;
                }
                ("own", Some(Value::Text(verb))) => {
                    check_name(&verb)?;
                    Self::Own(verb)
                }
                ("env", None) => Self::Env,
                ("secret", None) => Self::Secret,
                (verb, None) if FILE_VERBS.contains(&verb) => Self::File(word),
                (verb, None) if NET_VERBS.contains(&verb) => Self::Net { verb: word, port: None },
                (what, None) if FACILITIES.contains(&what) => Self::Host(word),
                _ => {
                    let error = format!("`{text}` is no access; {ACCESS}");
                    return Err(syn::Error::new(word.span(), error));
                }
            };
            all.push(stated);
        }
        let mut is_port_used = false;
        for stated in &mut all {
            if let Self::Net { verb, port: own } = stated
                && verb != "resolve"
            {
                let Some(port) = &port else {
                    let error = format!("`{verb}` needs a port: write `#[access({verb}, port = field)]`");
                    return Err(syn::Error::new(verb.span(), error));
                };
                is_port_used = true;
                *own = Some(port.clone());
            }
        }
        match port {
            Some(port) if !is_port_used => Err(syn::Error::new(port.span(), "nothing here has a port")),
            Some(_) | None => Ok(all),
        }
    }
}

impl Audited {
    /// From one `#[audit]`.
    pub(crate) fn of(attribute: &Attribute) -> Result<Self, syn::Error> {
        let mut audited = Self { is_redacted: false, name: None };
        if matches!(attribute.meta, syn::Meta::Path(_)) {
            return Ok(audited);
        }
        for Argument { word, value } in arguments(attribute, AUDIT)? {
            match (word.to_string().as_str(), value) {
                ("redact", None) => audited.is_redacted = true,
                ("name", Some(Value::Text(name))) => {
                    check_name(&name)?;
                    audited.name = Some(name);
                }
                _ => return Err(syn::Error::new(word.span(), AUDIT)),
            }
        }
        Ok(audited)
    }
}

/// The same names as `airssys_osl::Name` takes, told where they are written.
fn check_name(name: &LitStr) -> Result<(), syn::Error> {
    match is_name(&name.value()) {
        true => Ok(()),
        false => Err(syn::Error::new(
            name.span(),
            "a name has letters a to z, digits and `. _ - / @ #`, and no part between slashes that is empty or made of dots",
        )),
    }
}

pub(crate) fn is_name(text: &str) -> bool {
    let is_for_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@' | '#');
    text.len() <= NAME_BYTES_MAX
        && text.chars().all(is_for_names)
        && text.split('/').all(|part| part.chars().any(|c| c != '.'))
}
