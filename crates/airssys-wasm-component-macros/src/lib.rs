//! Macros of the AirsSys guest SDK.
