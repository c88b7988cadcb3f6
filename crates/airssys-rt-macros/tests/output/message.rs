#[cfg(feature = "orders")]
#[automatically_derived]
impl ::core::convert::From<shop::Order> for Event {
    fn from(value: shop::Order) -> Self {
        Event::Arrived(value)
    }
}
#[cfg(feature = "orders")]
#[automatically_derived]
impl ::core::convert::TryFrom<Event> for shop::Order {
    type Error = Event;
    fn try_from(message: Event) -> ::core::result::Result<Self, Event> {
        #[allow(unreachable_patterns)]
        match message {
            Event::Arrived(value) => ::core::result::Result::Ok(value),
            other => ::core::result::Result::Err(other),
        }
    }
}
#[automatically_derived]
impl ::core::convert::From<u64> for Event {
    fn from(value: u64) -> Self {
        Event::Count(value)
    }
}
#[automatically_derived]
impl ::core::convert::TryFrom<Event> for u64 {
    type Error = Event;
    fn try_from(message: Event) -> ::core::result::Result<Self, Event> {
        #[allow(unreachable_patterns)]
        match message {
            Event::Count(value) => ::core::result::Result::Ok(value),
            other => ::core::result::Result::Err(other),
        }
    }
}
