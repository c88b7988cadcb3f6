//! Operations of a program's own, as `#[derive(Operation)]` describes them, and the form in which the gate takes them.
//!
//! What a [`Prepared`] operation holds can be read and not changed behind its back: its accesses are made of it when it is
//! prepared, and made anew whenever it is changed. So what is decided about is what is there.

use std::any::Any;
use std::fmt;
use std::ops::Deref;

use crate::access::Access;
use crate::fields::Fields;
use crate::gate::Operation;

/// What an operation of a program's own says of itself. Made by `#[derive(Operation)]`.
pub trait Statement: Send + 'static {
    /// What it is called in records, such as `mail.send`.
    const NAME: &'static str;

    /// Every access that it makes, from its own content and from nothing else.
    fn state(&self) -> Vec<Access>;

    /// What a record says of it beside its accesses.
    fn fields(&self, _fields: &mut Fields<'_>) {}

    /// The most bytes it moves, for quotas.
    fn bytes_max(&self) -> u64 {
        0
    }
}

/// An operation with the accesses that it makes, for the gate.
#[derive(Clone)]
pub struct Prepared<T> {
    operation: T,
    accesses: Vec<Access>,
}

impl<T: Statement> Prepared<T> {
    /// Asks the operation for its accesses.
    pub fn of(operation: T) -> Self {
        let accesses = operation.state();
        Self { operation, accesses }
    }

    /// Changes the operation, and with it its accesses.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        // If the change panics, what is left makes no access, which is denied.
        self.accesses.clear();
        let changed = change(&mut self.operation);
        self.accesses = self.operation.state();
        changed
    }

    /// The operation, which is no longer prepared.
    pub fn into_inner(self) -> T {
        self.operation
    }
}

impl<T> Deref for Prepared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.operation
    }
}

impl<T: Statement> From<T> for Prepared<T> {
    fn from(operation: T) -> Self {
        Self::of(operation)
    }
}

impl<T: Statement> Operation for Prepared<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }

    fn fields(&self, fields: &mut Fields<'_>) {
        self.operation.fields(fields);
    }

    fn bytes_max(&self) -> u64 {
        self.operation.bytes_max()
    }

    fn as_any_mut(&mut self) -> Option<&mut dyn Any> {
        Some(self)
    }
}

impl<T> fmt::Debug for Prepared<T> {
    /// Shows the accesses only: the content may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("accesses", &self.accesses).finish_non_exhaustive()
    }
}

/// What `#[derive(Operation)]` writes calls of.
pub mod glue {
    use crate::access::{Access, FilePath, FileVerb, Host, HostFacility, Name, NetVerb, Port};

    /// None, one or many of something that accesses name.
    #[diagnostic::on_unimplemented(
        message = "this access is about a `{T}`, and the field is none",
        label = "make this a `{T}`, an `Option` of one, or a `Vec`"
    )]
    pub trait Each<T: 'static> {
        /// All of them.
        fn each(&self) -> impl Iterator<Item = &T>;
    }

    macro_rules! each {
        ($($named:ty),+) => {$(
            impl Each<$named> for $named {
                fn each(&self) -> impl Iterator<Item = &$named> {
                    std::iter::once(self)
                }
            }

            impl Each<$named> for Option<$named> {
                fn each(&self) -> impl Iterator<Item = &$named> {
                    self.iter()
                }
            }

            impl Each<$named> for Vec<$named> {
                fn each(&self) -> impl Iterator<Item = &$named> {
                    self.iter()
                }
            }
        )+};
    }

    each!(FilePath, Host, Name);

    /// Something with files.
    pub fn file(accesses: &mut Vec<Access>, verb: FileVerb, paths: &impl Each<FilePath>) {
        accesses.extend(paths.each().map(|path| Access::File { verb, path: path.clone() }));
    }

    /// Something with the network.
    pub fn net(accesses: &mut Vec<Access>, verb: NetVerb, hosts: &impl Each<Host>, port: Option<Port>) {
        accesses.extend(hosts.each().map(|host| Access::Net { verb, host: host.clone(), port }));
    }

    /// Variables are read.
    pub fn env(accesses: &mut Vec<Access>, names: &impl Each<Name>) {
        accesses.extend(names.each().map(|name| Access::Env { name: name.clone() }));
    }

    /// Secrets are read.
    pub fn secret(accesses: &mut Vec<Access>, names: &impl Each<Name>) {
        accesses.extend(names.each().map(|name| Access::Secret { name: name.clone() }));
    }

    /// Something of the program's own; the macro has looked at the verb.
    pub fn own(accesses: &mut Vec<Access>, verb: &'static str, names: &impl Each<Name>) {
        let verb = Name::parse(verb).expect("the macro takes only what is a name");
        accesses.extend(names.each().map(|name| Access::Own { verb: verb.clone(), name: name.clone() }));
    }

    /// Something of the host.
    pub fn host(accesses: &mut Vec<Access>, what: HostFacility) {
        accesses.push(Access::Host { what });
    }
}
