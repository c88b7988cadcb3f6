//! Macros of airssys-rt. Use them through `airssys-rt`, which shows them at work.

mod arguments;
mod block;
mod conversion;
mod field;
mod handler;
mod mark;
mod output;

/// Makes an actor of one inherent impl block: its methods become its messages.
///
/// A method marked `#[tell]` handles a message that is sent and forgotten. One marked `#[ask]` returns the answer to a
/// request, and `#[ask(deferred)]` one that keeps the `ReplyTo` and answers when it can. Handlers take `&self` or
/// `&mut self`, may be `async`, and may take `&mut Context<Self>`; each further parameter is a field of the message.
/// Methods marked `#[hook]`, such as `start`, are moved into the impl of `Actor` as they stand. Everything else stays
/// untouched.
///
/// For `impl Counter` that gives:
/// - the enum `CounterMessage`, with a variant for each handler and a named field for each parameter; the field `reply` of
///   an ask takes the `ReplyTo`. A handler without parameters is a unit variant.
/// - `impl Actor for Counter`, which calls the handlers directly: no message costs a boxed future. A trace names the variant,
///   unless a hook `describe` says more.
/// - the trait `CounterAddress` on `Address<CounterMessage>`. For a tell `add`, `add(n)` is as `Address::tell` and
///   `try_add(n)` as `Address::try_tell`. For an ask `total`, `total(timeout)` is as `Address::ask`. What these say of
///   errors, deadlines and cancel safety holds.
///
/// Documentation and `cfg` of a handler hold for its variant and its client methods as well; documentation of a parameter
/// goes to the field.
///
/// # How a handler ends the actor
/// By returning `Err` from a `#[tell]` or an `#[ask(deferred)]`: these return nothing, or `Result<(), E>` where
/// `E: Into<ExitReason>`. What an `#[ask]` returns is the answer, a `Result` too: its error goes to the asker and the actor
/// lives on.
///
/// # Options
/// - `#[actor(pub)]`, or any other visibility: how far the enum and the trait are seen. Without it, as far as the
///   handlers, which then must be alike. An actor that is itself public needs a public message.
/// - `message = Name` and `address = Name`: the names of the enum and of the trait.
/// - `derive(Debug)`: derives for the enum.
/// - `crate = path`: where `airssys-rt` is found, if not at `::airssys_rt`.
/// - `#[tell(from)]` on a handler with one parameter of type `X` adds `From<X>` for the enum and `TryFrom` of the enum for
///   `X`, so that its address is also one for `X` alone.
///
/// # What it refuses
/// Generic actors and handlers, parameters that borrow, patterns as parameters, `impl Trait`, and handlers named as a method
/// of `Address`, which would hide the client's.
#[proc_macro_attribute]
pub fn actor(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    with_errors(block::expand(arguments.into(), item.into())).into()
}

/// Lets an enum of messages be made from what it carries, and taken apart again.
///
/// For each variant `Variant(X)` that gives `From<X>` for the enum, and `TryFrom` of the enum for `X`, whose error is the
/// enum as it was. Other variants are left alone. Two variants of one type would be ambiguous; mark those that should not be
/// made from it with `#[message(skip)]`.
#[proc_macro_derive(Message, attributes(message))]
pub fn message(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    with_errors(conversion::expand(item.into())).into()
}

/// Output and errors together, as the compiler wants them: it reports the errors and still sees the rest.
fn with_errors((output, errors): (proc_macro2::TokenStream, Vec<syn::Error>)) -> proc_macro2::TokenStream {
    let errors = errors.iter().map(syn::Error::to_compile_error);
    quote::quote! { #output #(#errors)* }
}
