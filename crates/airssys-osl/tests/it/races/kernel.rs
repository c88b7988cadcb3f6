//! Threads for which the kernel is another: one that does not know a call, and one with mounts of its own.

#![allow(
    unsafe_code,
    reason = "no safe way to install a filter of system calls, and to leave the mounts of others"
)]

use std::io;

/// Runs on a thread on which `openat2` always fails with this error.
pub(super) fn without_openat2<T: Send>(errno: i32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| {
            deny_openat2(errno);
            work()
        });
        ran.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn deny_openat2(errno: i32) {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code.try_into().unwrap(), jt, jf, k };
    let number = u32::try_from(libc::SYS_openat2).unwrap();
    let refused = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap();
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len().try_into().unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: both calls read their arguments only, `program` and the filter it points to live until they return, and what they
    // change is the calling thread, which ends with the test.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    assert!(installed, "{}", io::Error::last_os_error());
}

/// Gives this thread mounts of its own, as root or as the root of a user namespace.
pub(super) fn own_mounts() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags;
    // SAFETY: only this thread's view of mounts, working folder and user changes, and it ends with the test.
    let alone = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0 || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) == 0
    };
    if !alone {
        return Err(io::Error::last_os_error());
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", private)?)
}
