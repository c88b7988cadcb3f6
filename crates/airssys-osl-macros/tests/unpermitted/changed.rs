//! What was permitted is not changed any more, and a layer has no answer that permits.

use airssys_osl::{Answer, Middleware, Name, Operation, Permit, Prepared, Subject};

#[derive(Operation)]
#[operation(name = "mail.send")]
struct Mail {
    #[access(own = "send")]
    to: Name,
}

fn readdressed(permit: Permit<Prepared<Mail>>, to: Name) {
    permit.operation().to = to;
}

fn behind_its_back(prepared: &mut Prepared<Mail>, to: Name) {
    prepared.to = to;
}

struct Skips(Permit<Prepared<Mail>>);

impl Middleware for Skips {
    fn name(&self) -> &str {
        "skips"
    }

    fn before<'a>(&'a self, _: &'a Subject, _: &'a mut (dyn Operation + 'a)) -> Answer<'a> {
        Box::pin(async { Ok(&self.0) })
    }
}

fn main() {}
