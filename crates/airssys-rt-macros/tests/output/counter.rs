#[allow(clippy::large_enum_variant)]
impl Counter {
    const LIMIT: u64 = 7;
    /// Adds, see [`Self::total`].
    pub async fn add(&mut self, mut n: u64) {
        self.0 += n;
    }
    #[cfg(feature = "reset")]
    #[deprecated]
    pub fn reset(&mut self) -> Result<(), Full> {
        self.0 = 0;
        Ok(())
    }
    pub fn total(&self) -> u64 {
        self.0
    }
    pub async fn slow(
        &mut self,
        key: String,
        ctx: &mut Context<Self>,
    ) -> Result<Vec<Self>, Full> {
        self.search(ctx, key).await
    }
    pub fn flush(&self) {}
    pub fn later(&mut self, answer_to: ReplyTo<u64>, urgent: bool) {
        self.1.push(answer_to);
    }
    fn helper(&self) {}
}
#[allow(clippy::large_enum_variant)]
const _: ::core::option::Option<::airssys_rt::glue::Carried<u64>> = ::core::option::Option::None;
#[allow(clippy::large_enum_variant)]
const _: ::core::option::Option<::airssys_rt::glue::Carried<u64>> = ::core::option::Option::None;
#[allow(clippy::large_enum_variant)]
const _: ::core::option::Option<::airssys_rt::glue::Carried<String>> = ::core::option::Option::None;
#[allow(clippy::large_enum_variant)]
const _: ::core::option::Option<
    ::airssys_rt::glue::Carried<Result<Vec<Counter>, Full>>,
> = ::core::option::Option::None;
#[allow(clippy::large_enum_variant)]
const _: ::core::option::Option<::airssys_rt::glue::Carried<()>> = ::core::option::Option::None;
#[allow(clippy::large_enum_variant)]
const _: ::core::option::Option<::airssys_rt::glue::Carried<bool>> = ::core::option::Option::None;
#[allow(clippy::large_enum_variant)]
const _: ::core::option::Option<::airssys_rt::glue::Carried<u64>> = ::core::option::Option::None;
#[allow(clippy::large_enum_variant)]
/// What a `Counter` is told.
#[allow(dead_code)]
pub enum CounterMessage {
    /// Adds, see [`Counter::total`].
    Add {
        /// How many.
        n: u64,
    },
    #[cfg(feature = "reset")]
    /// Handled by `Counter::reset`.
    Reset,
    /// Handled by `Counter::total`.
    Total {
        /// Where the answer goes.
        reply: ::airssys_rt::ReplyTo<u64>,
    },
    /// Handled by `Counter::slow`.
    Slow {
        /// The parameter `key`.
        key: String,
        /// Where the answer goes.
        reply: ::airssys_rt::ReplyTo<Result<Vec<Counter>, Full>>,
    },
    /// Handled by `Counter::flush`.
    Flush {
        /// Where the answer goes.
        reply: ::airssys_rt::ReplyTo<()>,
    },
    /// Handled by `Counter::later`.
    Later {
        /// The parameter `urgent`.
        urgent: bool,
        /// Where the answer goes.
        answer_to: ::airssys_rt::ReplyTo<u64>,
    },
}
#[allow(clippy::large_enum_variant)]
impl ::airssys_rt::Actor for Counter {
    type Message = CounterMessage;
    #[allow(deprecated, unused_variables)]
    async fn handle(
        &mut self,
        message: CounterMessage,
        ctx: &mut ::airssys_rt::Context<Self>,
    ) -> ::core::result::Result<(), ::airssys_rt::ExitReason> {
        match message {
            CounterMessage::Add { n } => {
                Self::add(self, n).await;
                ::core::result::Result::Ok(())
            }
            #[cfg(feature = "reset")]
            CounterMessage::Reset => {
                let outcome = Self::reset(self);
                ::airssys_rt::glue::Outcome::outcome(outcome)
            }
            CounterMessage::Total { reply } => {
                let answer = Self::total(self);
                ::airssys_rt::glue::answer(reply, answer);
                ::core::result::Result::Ok(())
            }
            CounterMessage::Slow { key, reply } => {
                let answer = Self::slow(self, key, ctx).await;
                ::airssys_rt::glue::answer(reply, answer);
                ::core::result::Result::Ok(())
            }
            CounterMessage::Flush { reply } => {
                Self::flush(self);
                ::airssys_rt::glue::answer(reply, ());
                ::core::result::Result::Ok(())
            }
            CounterMessage::Later { urgent, answer_to } => {
                Self::later(self, answer_to, urgent);
                ::core::result::Result::Ok(())
            }
        }
    }
    fn describe(message: &CounterMessage) -> ::std::borrow::Cow<'static, str> {
        ::std::borrow::Cow::Borrowed(
            match *message {
                CounterMessage::Add { .. } => "Add",
                #[cfg(feature = "reset")]
                CounterMessage::Reset { .. } => "Reset",
                CounterMessage::Total { .. } => "Total",
                CounterMessage::Slow { .. } => "Slow",
                CounterMessage::Flush { .. } => "Flush",
                CounterMessage::Later { .. } => "Later",
            },
        )
    }
    async fn stop(&mut self, _: &ExitReason, _: &mut Context<Self>) {}
}
#[allow(clippy::large_enum_variant)]
/// Sends to a `Counter`, on its `Address`.
#[allow(dead_code, clippy::too_many_arguments)]
pub trait CounterAddress {
    /// Adds, see [`Counter::total`].
    fn add(
        &self,
        n: u64,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>>,
    > + ::core::marker::Send;
    /// As [`add`](Self::add), without waiting: see `Address::try_tell`.
    fn try_add(
        &self,
        n: u64,
    ) -> ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>>;
    #[cfg(feature = "reset")]
    /// Handled by `Counter::reset`.
    #[deprecated]
    fn reset(
        &self,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>>,
    > + ::core::marker::Send;
    #[cfg(feature = "reset")]
    /// As [`reset`](Self::reset), without waiting: see `Address::try_tell`.
    #[deprecated]
    fn try_reset(
        &self,
    ) -> ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>>;
    /// Handled by `Counter::total`.
    fn total(
        &self,
        timeout: ::core::time::Duration,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<u64, ::airssys_rt::AskError<CounterMessage>>,
    > + ::core::marker::Send;
    /// Handled by `Counter::slow`.
    fn slow(
        &self,
        timeout: ::core::time::Duration,
        key: String,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<
            Result<Vec<Counter>, Full>,
            ::airssys_rt::AskError<CounterMessage>,
        >,
    > + ::core::marker::Send;
    /// Handled by `Counter::flush`.
    fn flush(
        &self,
        timeout: ::core::time::Duration,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::airssys_rt::AskError<CounterMessage>>,
    > + ::core::marker::Send;
    /// Handled by `Counter::later`.
    fn later(
        &self,
        timeout: ::core::time::Duration,
        urgent: bool,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<u64, ::airssys_rt::AskError<CounterMessage>>,
    > + ::core::marker::Send;
}
#[allow(clippy::large_enum_variant)]
impl CounterAddress for ::airssys_rt::Address<CounterMessage> {
    fn add(
        &self,
        n: u64,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>>,
    > + ::core::marker::Send {
        ::airssys_rt::Address::tell(self, CounterMessage::Add { n })
    }
    fn try_add(
        &self,
        n: u64,
    ) -> ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>> {
        ::airssys_rt::Address::try_tell(self, CounterMessage::Add { n })
    }
    #[cfg(feature = "reset")]
    fn reset(
        &self,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>>,
    > + ::core::marker::Send {
        ::airssys_rt::Address::tell(self, CounterMessage::Reset)
    }
    #[cfg(feature = "reset")]
    fn try_reset(
        &self,
    ) -> ::core::result::Result<(), ::airssys_rt::TellError<CounterMessage>> {
        ::airssys_rt::Address::try_tell(self, CounterMessage::Reset)
    }
    fn total(
        &self,
        timeout: ::core::time::Duration,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<u64, ::airssys_rt::AskError<CounterMessage>>,
    > + ::core::marker::Send {
        ::airssys_rt::Address::ask(
            self,
            timeout,
            move |reply| CounterMessage::Total { reply },
        )
    }
    fn slow(
        &self,
        timeout: ::core::time::Duration,
        key: String,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<
            Result<Vec<Counter>, Full>,
            ::airssys_rt::AskError<CounterMessage>,
        >,
    > + ::core::marker::Send {
        ::airssys_rt::Address::ask(
            self,
            timeout,
            move |reply| CounterMessage::Slow { key, reply },
        )
    }
    fn flush(
        &self,
        timeout: ::core::time::Duration,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), ::airssys_rt::AskError<CounterMessage>>,
    > + ::core::marker::Send {
        ::airssys_rt::Address::ask(
            self,
            timeout,
            move |reply| CounterMessage::Flush { reply },
        )
    }
    fn later(
        &self,
        timeout: ::core::time::Duration,
        urgent: bool,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<u64, ::airssys_rt::AskError<CounterMessage>>,
    > + ::core::marker::Send {
        ::airssys_rt::Address::ask(
            self,
            timeout,
            move |answer_to| CounterMessage::Later {
                urgent,
                answer_to,
            },
        )
    }
}
