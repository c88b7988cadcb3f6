//! What the machine is and gives: its memory, its randomness.

use std::io;

/// Fills `buffer` with randomness of the operating system. Waits only at boot, until the system has gathered some.
pub fn random_bytes(buffer: &mut [u8]) -> Result<(), io::Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(len) => filled += len,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The machine's memory in bytes. None where the system does not say.
pub fn memory_bytes() -> Option<u64> {
    let info = rustix::system::sysinfo();
    let bytes = (info.totalram as u64).checked_mul(u64::from(info.mem_unit))?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{memory_bytes, random_bytes};

    #[test]
    fn randomness_fills_the_whole_buffer_and_differs() {
        let (mut one, mut other) = ([0; 600], [0; 600]);
        random_bytes(&mut one).expect("the system has randomness");
        random_bytes(&mut other).expect("the system has randomness");
        assert_ne!(one, other);
        assert!(one[590..].iter().any(|byte| *byte != 0));
    }

    #[test]
    fn the_machine_has_more_memory_than_this_test() {
        assert!(memory_bytes().expect("the system says") > 1 << 20);
    }
}
