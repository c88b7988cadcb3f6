//! An effect that takes a permit is not done with less, and the gate takes no operation that states nothing.

use airssys_osl::{Gate, Name, Operation, Permit, Prepared, Subject};

#[derive(Operation)]
#[operation(name = "mail.send")]
struct Mail {
    #[access(own = "send")]
    to: Name,
}

fn send(permit: Permit<Prepared<Mail>>) -> Result<(), std::fmt::Error> {
    permit.perform(|_| Ok(()))
}

fn directly(mail: Mail) {
    send(Prepared::of(mail)).expect("it is sent");
}

fn unprepared(gate: &Gate, subject: &Subject, mail: Mail) {
    drop(gate.admit(subject, mail));
}

fn denied(gate: &Gate, subject: &Subject, mail: Mail) {
    let answer = gate.admit(subject, Prepared::of(mail));
    send(answer).expect("it is sent");
}

fn main() {}
