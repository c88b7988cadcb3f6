//! A permit is made by the gate alone, and so is the end of its record.

use airssys_osl::{Name, Operation, Permit, Ticket};

#[derive(Operation)]
#[operation(name = "mail.send")]
struct Mail {
    #[access(own = "send")]
    to: Name,
}

fn forged(mail: Mail, ticket: Ticket) -> Permit<Mail> {
    Permit { operation: mail, ticket }
}

fn conjured() -> Permit<Mail> {
    Permit::default()
}

fn main() {}
