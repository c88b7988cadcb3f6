//! Write AirsSys component actors in Rust.
