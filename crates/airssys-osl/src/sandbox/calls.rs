//! The system calls that a confined program does not get: a filter for programs that nobody wrote for it.
//!
//! What lets a program out of its confinement, into other processes, into the kernel or into the state of the whole machine
//! is refused with `EPERM`, and so are sockets that the policy gives no reason for. Calls of another architecture, which have
//! other numbers, end the process. What is not listed is allowed: this is no list of what is harmless.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

/// The sockets that a confined program may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sockets {
    /// Streams of TCP.
    pub(super) tcp: bool,
    /// Accepting them.
    pub(super) listen: bool,
    /// Datagrams of UDP.
    pub(super) udp: bool,
    /// Those of this machine.
    pub(super) unix: bool,
}

/// The same number everywhere, and newer than the list of them.
const SYS_OPEN_TREE_ATTR: c_long = 467;

/// Refused whatever the arguments.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Files by another way than their path, and the tree of mounts.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_fanotify_init,
    libc::SYS_setns,
    // The kernel and its less trodden parts.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_syslog,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    // The whole machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];

/// Namespaces, in each of which a program would have rights over what is in it.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// A namespace of the clock, which `clone` cannot make.
const CLONE_NEWTIME: u64 = 0x80;
/// The kind of a socket without its flags.
const KIND_OF_SOCKET: u64 = 0xf;
/// A personality that is only asked for.
const PERSONALITY_ASKED: u64 = 0xffff_ffff;

/// The programs for the kernel, to be applied one after the other.
pub(super) fn programs(sockets: Sockets) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    for (call, rules) in conditional(sockets)? {
        refused.entry(call).or_default().extend(rules);
    }
    if !sockets.listen && !sockets.unix {
        // A socket that listens without a port of its choice is given one, whatever the wall says of ports.
        refused.insert(libc::SYS_listen, Vec::new());
    }
    let errno = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    // Its arguments lie where the filter cannot look. Whoever is told that there is no such call uses `clone`.
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let mut programs = Vec::new();
    for (calls, action) in [(unknown, errno(libc::ENOSYS)), (refused, errno(libc::EPERM))] {
        let filter =
            SeccompFilter::new(calls, SeccompAction::Allow, action, std::env::consts::ARCH.try_into()?)?;
        programs.push(filter.try_into()?);
    }
    if cfg!(target_arch = "x86_64") {
        programs.push(without_x32());
    }
    Ok(programs)
}

/// What is refused with some arguments.
fn conditional(sockets: Sockets) -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::Error> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    // The kernel reads these arguments as 32 bits, so the others must not make a difference.
    let is = |argument, operation, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
    };
    let has = |argument, bits: u64| is(argument, MaskedEq(bits), bits);
    let one = |condition| Ok::<_, seccompiler::Error>(SeccompRule::new(vec![condition?])?);
    let mut calls = Vec::new();

    let namespaces = || NAMESPACES.iter().map(|flag| u64::from(flag.unsigned_abs()));
    let clone: Vec<_> = namespaces().map(|flag| one(has(0, flag))).collect::<Result<_, _>>()?;
    let unshare: Vec<_> =
        namespaces().chain([CLONE_NEWTIME]).map(|flag| one(has(0, flag))).collect::<Result<_, _>>()?;
    calls.push((libc::SYS_clone, clone));
    calls.push((libc::SYS_unshare, unshare));
    let terminal = [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSETD].map(|command| one(is(1, Eq, command)));
    calls.push((libc::SYS_ioctl, terminal.into_iter().collect::<Result<_, _>>()?));
    let personality = vec![is(0, Ne, 0)?, is(0, Ne, PERSONALITY_ASKED)?];
    calls.push((libc::SYS_personality, vec![SeccompRule::new(personality)?]));

    // Limits of others: one of processor time ends who has it, whatever the wall says of signals.
    let limits = vec![is(0, Ne, 0)?, SeccompCondition::new(2, SeccompCmpArgLen::Qword, Ne, 0)?];
    calls.push((libc::SYS_prlimit64, vec![SeccompRule::new(limits)?]));

    // Whoever takes back that it ends with its host outlives it.
    calls.push((libc::SYS_prctl, vec![one(is(0, Eq, u64::from(libc::PR_SET_PDEATHSIG.unsigned_abs())))?]));

    // To connect by sending passes the wall's look at ports.
    let fast_open = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
    for (call, flags_at) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        calls.push((call, vec![one(has(flags_at, fast_open))?]));
    }

    let family = |family: i32| u64::from(family.unsigned_abs());
    let mut known = vec![is(0, Ne, family(libc::AF_INET))?, is(0, Ne, family(libc::AF_INET6))?];
    if sockets.unix {
        known.push(is(0, Ne, family(libc::AF_UNIX))?);
    }
    let mut socket = vec![SeccompRule::new(known)?];
    for domain in [libc::AF_INET, libc::AF_INET6] {
        let inet = || is(0, Eq, family(domain));
        let kinds = [
            (sockets.tcp, libc::SOCK_STREAM, libc::IPPROTO_TCP),
            (sockets.udp, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ];
        for (_, kind, protocol) in kinds.into_iter().filter(|(is_allowed, ..)| *is_allowed) {
            // Other protocols of the same kind are not what the wall looks at.
            let other = vec![
                inet()?,
                is(1, MaskedEq(KIND_OF_SOCKET), family(kind))?,
                is(2, Ne, 0)?,
                is(2, Ne, family(protocol))?,
            ];
            socket.push(SeccompRule::new(other)?);
        }
        for kind in 0..=KIND_OF_SOCKET {
            let is_allowed =
                kinds.iter().any(|(is_allowed, allowed, _)| *is_allowed && family(*allowed) == kind);
            if !is_allowed {
                socket.push(SeccompRule::new(vec![inet()?, is(1, MaskedEq(KIND_OF_SOCKET), kind)?])?);
            }
        }
    }
    calls.push((libc::SYS_socket, socket));
    let mut pair = vec![one(is(0, Ne, family(libc::AF_UNIX)))?];
    if !sockets.unix {
        // A datagram of a pair goes to any path that it is sent to; streams stay with each other.
        for kind in (0..=KIND_OF_SOCKET).filter(|kind| *kind != family(libc::SOCK_STREAM)) {
            pair.push(one(is(1, MaskedEq(KIND_OF_SOCKET), kind))?);
        }
    }
    calls.push((libc::SYS_socketpair, pair));
    Ok(calls)
}

/// A second set of numbers for the calls of this architecture, by which a list of numbers would be passed by.
fn without_x32() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    let step =
        |code: u32, jt, jf, k| sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt, jf, k };
    vec![
        // The number of the call is the first word of what the filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, X32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
