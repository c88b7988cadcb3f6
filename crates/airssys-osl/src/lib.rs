//! The guarded door to the operating system.
