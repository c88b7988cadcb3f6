//! The runtime from outside, one file per theme. Time is paused except where a busy thread is the point.

mod exits;
mod mailbox;
mod probe;
mod supervision;
mod system;
