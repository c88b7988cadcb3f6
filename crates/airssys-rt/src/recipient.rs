//! An address known only by one kind of message it takes, whatever actor is behind it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::actor::ActorId;
use crate::address::{Address, TellError};

/// Sends `X` to an actor whose message type holds it. Cheap to clone; costs a virtual call per message, and waiting for room
/// costs a boxed future.
pub struct Recipient<X>(Arc<dyn Takes<X>>);

/// What is left of an address when its message type is forgotten.
trait Takes<X>: Send + Sync {
    fn id(&self) -> ActorId;
    fn try_tell(&self, message: X) -> Result<(), TellError<X>>;
    fn tell<'a>(&'a self, message: X) -> Pin<Box<dyn Future<Output = Result<(), TellError<X>>> + Send + 'a>>
    where
        X: 'a;
}

impl<X, M> Takes<X> for Address<M>
where
    M: From<X> + Send + 'static,
    X: TryFrom<M> + Send,
{
    fn id(&self) -> ActorId {
        self.id()
    }

    fn try_tell(&self, message: X) -> Result<(), TellError<X>> {
        self.try_tell(message.into()).map_err(unwrap)
    }

    fn tell<'a>(&'a self, message: X) -> Pin<Box<dyn Future<Output = Result<(), TellError<X>>> + Send + 'a>>
    where
        X: 'a,
    {
        let message = M::from(message);
        Box::pin(async move { self.tell(message).await.map_err(unwrap) })
    }
}

fn unwrap<X: TryFrom<M>, M>(error: TellError<M>) -> TellError<X> {
    error.map(|message| match X::try_from(message) {
        Ok(message) => message,
        Err(_) => panic!("a message made by `From` is taken apart by `TryFrom`"),
    })
}

impl<M: Send + 'static> Address<M> {
    /// This address for those who know only `X`.
    ///
    /// # Panics
    /// Sending panics if a message that cannot be sent is not given back by `TryFrom`.
    pub fn recipient<X>(&self) -> Recipient<X>
    where
        M: From<X>,
        X: TryFrom<M> + Send + 'static,
    {
        Recipient(Arc::new(self.clone()))
    }
}

impl<X: 'static> Recipient<X> {
    /// The slot's id.
    pub fn id(&self) -> ActorId {
        self.0.id()
    }

    /// As [`Address::try_tell`].
    pub fn try_tell(&self, message: X) -> Result<(), TellError<X>> {
        self.0.try_tell(message)
    }

    /// As [`Address::tell`]; cancel safe like it.
    pub async fn tell(&self, message: X) -> Result<(), TellError<X>> {
        self.0.tell(message).await
    }
}

impl<X> Clone for Recipient<X> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<X: 'static> fmt::Debug for Recipient<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.id())
    }
}
