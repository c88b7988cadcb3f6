impl shop::Shop {
    fn order(&mut self, order: Order) {}
}
const _: ::core::option::Option<facade::rt::glue::Carried<Order>> = ::core::option::Option::None;
/// What a `shop::Shop` is told.
#[derive(Debug, Clone)]
#[allow(dead_code)]
pub(crate) enum Wish {
    /// Handled by `shop::Shop::order`.
    Order {
        /// The parameter `order`.
        order: Order,
    },
}
impl facade::rt::Actor for shop::Shop {
    type Message = Wish;
    #[allow(deprecated, unused_variables)]
    async fn handle(
        &mut self,
        message: Wish,
        ctx: &mut facade::rt::Context<Self>,
    ) -> ::core::result::Result<(), facade::rt::ExitReason> {
        match message {
            Wish::Order { order } => {
                Self::order(self, order);
                ::core::result::Result::Ok(())
            }
        }
    }
    fn describe(message: &Wish) -> ::std::borrow::Cow<'static, str> {
        ::std::borrow::Cow::Borrowed(
            match *message {
                Wish::Order { .. } => "Order",
            },
        )
    }
}
/// Sends to a `shop::Shop`, on its `Address`.
#[allow(dead_code, clippy::too_many_arguments)]
pub(crate) trait Wishes {
    /// Handled by `shop::Shop::order`.
    fn order(
        &self,
        order: Order,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), facade::rt::TellError<Wish>>,
    > + ::core::marker::Send;
    /// As [`order`](Self::order), without waiting: see `Address::try_tell`.
    fn try_order(
        &self,
        order: Order,
    ) -> ::core::result::Result<(), facade::rt::TellError<Wish>>;
}
impl Wishes for facade::rt::Address<Wish> {
    fn order(
        &self,
        order: Order,
    ) -> impl ::core::future::Future<
        Output = ::core::result::Result<(), facade::rt::TellError<Wish>>,
    > + ::core::marker::Send {
        facade::rt::Address::tell(self, Wish::Order { order })
    }
    fn try_order(
        &self,
        order: Order,
    ) -> ::core::result::Result<(), facade::rt::TellError<Wish>> {
        facade::rt::Address::try_tell(self, Wish::Order { order })
    }
}
#[automatically_derived]
impl ::core::convert::From<Order> for Wish {
    fn from(value: Order) -> Self {
        Wish::Order { order: value }
    }
}
#[automatically_derived]
impl ::core::convert::TryFrom<Wish> for Order {
    type Error = Wish;
    fn try_from(message: Wish) -> ::core::result::Result<Self, Wish> {
        #[allow(unreachable_patterns)]
        match message {
            Wish::Order { order: value } => ::core::result::Result::Ok(value),
            other => ::core::result::Result::Err(other),
        }
    }
}
