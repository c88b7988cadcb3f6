//! The AirsSys daemon as a library.
