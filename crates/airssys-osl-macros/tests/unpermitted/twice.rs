//! A permit is spent by the effect that takes it, and cannot be copied.

use airssys_osl::{Permit, Prepared, Name, Operation};

#[derive(Operation, Clone)]
#[operation(name = "mail.send")]
struct Mail {
    #[access(own = "send")]
    to: Name,
}

fn send(permit: Permit<Prepared<Mail>>) -> Result<(), std::fmt::Error> {
    permit.perform(|_| Ok(()))
}

fn twice(permit: Permit<Prepared<Mail>>) {
    send(permit).expect("it is sent");
    send(permit).expect("it is sent again");
}

fn copied(permit: Permit<Prepared<Mail>>) {
    send(permit.clone()).expect("it is sent");
}

fn main() {}
