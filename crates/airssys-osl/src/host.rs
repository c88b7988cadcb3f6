//! What the machine is and gives: time, randomness, its description, variables, secrets; each behind the gate.
//!
//! A [`Machine`] asks the gate before each. What is given out is in no record: those name the variable or the secret, and the
//! number of random bytes. [`random_bytes`] and [`memory_bytes`] are the runtime's own and ask nobody.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::access::{Access, HostFacility, Name, NameError, Subject};
use crate::fields::Fields;
use crate::gate::{Denied, Gate, Operation};
use crate::secret::{Secret, SecretError, Secrets};

/// Most random bytes at a time.
const RANDOM_BYTES_MAX: usize = 64 * 1024;
/// Longest variable in bytes.
const VARIABLE_BYTES_MAX: usize = 128 * 1024;

/// The machine behind a gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine {
    gate: Gate,
    secrets: Arc<Secrets>,
}

/// Something that is wanted of the machine.
#[derive(Debug)]
pub struct HostOperation {
    name: &'static str,
    access: Access,
    bytes_len: Option<usize>,
}

/// Why something was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// It is no name.
    #[error("use {text:?} as a name: {source}")]
    Name {
        /// As it was given.
        text: String,
        /// Why.
        #[source]
        source: NameError,
    },
    /// It is not allowed.
    #[error(transparent)]
    Denied(Box<Denied<HostOperation>>),
    /// It is more than is given at a time.
    #[error("give {len} bytes: at most {max} are given at a time")]
    TooLarge {
        /// How many were wanted.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The variable is not text.
    #[error("read variable {name}: it is not UTF-8")]
    NotText {
        /// Which.
        name: Name,
    },
    /// The secret is not there.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The system gives no randomness.
    #[error("gather randomness")]
    Random(#[source] io::Error),
}

/// Which machine this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineInfo {
    /// Its operating system, such as `Linux`.
    pub system: String,
    /// The version of that.
    pub release: String,
    /// Its kind of processor, such as `x86_64`.
    pub architecture: String,
    /// Its name in the network.
    pub name: String,
    /// Threads that run at a time; at least 1.
    pub processors: usize,
    /// Its memory, if the system says.
    pub memory_bytes: Option<u64>,
}

impl From<Denied<HostOperation>> for MachineError {
    fn from(denied: Denied<HostOperation>) -> Self {
        MachineError::Denied(Box::new(denied))
    }
}

impl Operation for HostOperation {
    fn name(&self) -> &'static str {
        self.name
    }

    fn accesses(&self) -> &[Access] {
        std::slice::from_ref(&self.access)
    }

    fn fields(&self, fields: &mut Fields<'_>) {
        if let Some(len) = self.bytes_len {
            fields.show("bytes", &len);
        }
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_len.map_or(0, |len| len as u64)
    }
}

impl Machine {
    /// This machine behind a gate, with the secrets that the program gives out.
    pub fn new(gate: Gate, secrets: Secrets) -> Self {
        Self { gate, secrets: Arc::new(secrets) }
    }

    /// The time of day, which may step. Takes `host clock`.
    pub fn time(&self, subject: &Subject) -> Result<SystemTime, MachineError> {
        self.give(subject, HostOperation::of("host.time", HostFacility::Clock), |_| Ok(SystemTime::now()))
    }

    /// The clock that never goes back. Takes `host clock`.
    pub fn instant(&self, subject: &Subject) -> Result<Instant, MachineError> {
        self.give(subject, HostOperation::of("host.instant", HostFacility::Clock), |_| Ok(Instant::now()))
    }

    /// Random bytes of the system, at most 64 KiB. Takes `host random`.
    pub fn random(&self, subject: &Subject, len: usize) -> Result<Vec<u8>, MachineError> {
        let operation = HostOperation::of("host.random", HostFacility::Random);
        self.give(subject, HostOperation { bytes_len: Some(len), ..operation }, |_| {
            if len > RANDOM_BYTES_MAX {
                return Err(MachineError::TooLarge { len, max: RANDOM_BYTES_MAX });
            }
            let mut bytes = vec![0; len];
            random_bytes(&mut bytes).map_err(MachineError::Random)?;
            Ok(bytes)
        })
    }

    /// Which machine this is. Takes `host info`.
    pub fn info(&self, subject: &Subject) -> Result<MachineInfo, MachineError> {
        self.give(subject, HostOperation::of("host.info", HostFacility::Info), |_| {
            let uname = rustix::system::uname();
            let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
            Ok(MachineInfo {
                system: text(uname.sysname()),
                release: text(uname.release()),
                architecture: text(uname.machine()),
                name: text(uname.nodename()),
                processors: std::thread::available_parallelism().map_or(1, usize::from),
                memory_bytes: memory_bytes(),
            })
        })
    }

    /// A variable of this process's environment, if it is set. Takes `env` of the name.
    pub fn variable(&self, subject: &Subject, name: &str) -> Result<Option<String>, MachineError> {
        let name = self.name(subject, "host.variable", name)?;
        let access = Access::Env { name: name.clone() };
        self.give(subject, HostOperation { name: "host.variable", access, bytes_len: None }, |_| {
            let Some(value) = std::env::var_os(name.as_str()) else {
                return Ok(None);
            };
            let len = value.len();
            if len > VARIABLE_BYTES_MAX {
                return Err(MachineError::TooLarge { len, max: VARIABLE_BYTES_MAX });
            }
            value.into_string().map(Some).map_err(|_| MachineError::NotText { name })
        })
    }

    /// A secret that the program gives out. Takes `secret` of the name.
    pub fn secret(&self, subject: &Subject, name: &str) -> Result<Secret, MachineError> {
        let name = self.name(subject, "host.secret", name)?;
        let access = Access::Secret { name: name.clone() };
        self.give(subject, HostOperation { name: "host.secret", access, bytes_len: None }, |_| {
            Ok(self.secrets.find(&name)?)
        })
    }

    fn give<T>(
        &self,
        subject: &Subject,
        operation: HostOperation,
        effect: impl FnOnce(HostOperation) -> Result<T, MachineError>,
    ) -> Result<T, MachineError> {
        self.gate.admit(subject, operation)?.perform(effect)
    }

    /// A text that is no name is on record like what is denied.
    fn name(&self, subject: &Subject, operation: &'static str, text: &str) -> Result<Name, MachineError> {
        Name::parse(text)
            .inspect_err(|why| self.gate.refuse_text(subject, operation, text, why))
            .map_err(|source| MachineError::Name { text: text.chars().take(256).collect(), source })
    }
}

impl HostOperation {
    fn of(name: &'static str, what: HostFacility) -> Self {
        Self { name, access: Access::Host { what }, bytes_len: None }
    }
}

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
