//! Macros of airssys-osl. Use them through `airssys-osl`, which shows them at work.

mod attribute;
mod operation;
mod output;

/// Makes a struct an operation of the program's own: it says what it is called, what it accesses, and what of it is recorded.
///
/// ```text
/// #[derive(Operation)]
/// #[operation(name = "mail.send")]
/// struct Mail {
///     #[access(own = "send")]
///     to: Name,
///     #[access(read)]
///     attached: Vec<FilePath>,
///     #[audit]
///     subject: String,
///     #[audit(redact)]
///     token: String,
///     #[bytes]
///     body: Vec<u8>,
/// }
/// ```
///
/// That gives an impl of `Statement`; `Prepared::of(mail)` is what the gate takes.
///
/// # On the struct
/// - `#[operation(name = "mail.send")]`: what it is called in records. With `crate = path` where `airssys-osl` is found, if not
///   at `::airssys_osl`.
/// - `#[access(clock)]`, `random` or `info`: it uses that of the host.
///
/// # On a field
/// - `#[access(read)]`, or several of `read`, `write`, `create`, `remove`, `stat`, `list`, `link`, `watch`: a `FilePath`.
/// - `#[access(connect, port = other_field)]`, or `listen`, `send`, `bind`; `#[access(resolve)]` without a port: a `Host`, and
///   the field that is its `Port`.
/// - `#[access(own = "verb")]`, `#[access(env)]`, `#[access(secret)]`: a `Name`.
/// - Each may be in an `Option` or a `Vec`.
/// - `#[audit]` shows the field in records by its `Display`, `#[audit(redact)]` says only that it is there, and `name = "x"`
///   beside it gives it another name.
/// - `#[bytes]`: its `len()` counts for quotas.
///
/// # What it refuses
/// Enums, unions, structs with fields without names, lifetimes, and a struct that accesses nothing, which would always be denied.
#[proc_macro_derive(Operation, attributes(operation, access, audit, bytes))]
pub fn operation(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    with_errors(operation::expand(item.into())).into()
}

/// Output and errors together, as the compiler wants them: it reports the errors and still sees the rest.
fn with_errors((output, errors): (proc_macro2::TokenStream, Vec<syn::Error>)) -> proc_macro2::TokenStream {
    let errors = errors.iter().map(syn::Error::to_compile_error);
    quote::quote! { #output #(#errors)* }
}
