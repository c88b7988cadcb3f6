//! Calls that nothing safe makes, for tests that try what must not work.

#![allow(unsafe_code, reason = "no safe crate offers what a program must not do")]

use std::io;

fn outcome(returned: libc::c_long) -> io::Result<i32> {
    match i32::try_from(returned) {
        Ok(value) if value >= 0 => Ok(value),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Stops another process to look into it, and lets it go again.
pub(crate) fn trace(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).unwrap();
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: to seize passes no memory.
    outcome(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) })?;
    // SAFETY: as above; it was never stopped, so the tracer lets it go when it ends.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, none, none) };
    Ok(())
}

/// Writes one byte to where nothing is in another process: with the right to write, the answer is `EFAULT`.
pub(crate) fn write_memory(pid: u32) -> io::Result<()> {
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(16), iov_len: 1 };
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: `local` is one byte that lives until the call is over.
    let written = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    outcome(libc::c_long::try_from(written).unwrap()).map(drop)
}

/// Mounts a folder over another.
pub(crate) fn bind_mount(from: &std::ffi::CStr, to: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: both paths end with NUL; nothing else is read for a bind mount.
    let mounted =
        unsafe { libc::mount(from.as_ptr(), to.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()) };
    outcome(mounted.into()).map(drop)
}

/// Mounts a file system of this kind.
pub(crate) fn mount(kind: &std::ffi::CStr, to: &std::ffi::CStr, options: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: all texts end with NUL and live until the call is over.
    let mounted =
        unsafe { libc::mount(c"none".as_ptr(), to.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    outcome(mounted.into()).map(drop)
}

/// A call by its number, with numbers as arguments.
pub(crate) fn call(number: libc::c_long, arguments: [u64; 4]) -> io::Result<i32> {
    let [a, b, c, d] = arguments;
    // SAFETY: the callers pass numbers and null pointers, which the kernel does not write through.
    outcome(unsafe { libc::syscall(number, a, b, c, d, 0_u64, 0_u64) })
}

/// Does something in a process that has one thread: a copy of this one. Whether it ended well.
pub(crate) fn alone(act: impl FnOnce()) -> bool {
    // SAFETY: the callers are processes in a role, whose other thread only waits for this one, so no lock is held by a thread
    // that the copy does not have. The copy ends here and runs nothing of what its caller would do next.
    match unsafe { libc::fork() } {
        0 => {
            let is_well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).is_ok();
            // SAFETY: ends the process, with what was printed written already, line by line.
            unsafe { libc::_exit(i32::from(!is_well)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` lives until the call is over.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status == 0
        }
    }
}
