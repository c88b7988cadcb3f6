//! Supervised actors in the manner of Erlang/OTP, on tokio.
