//! How a compiler process confines itself before it reads a byte of a module: it keeps nothing but computing, its open
//! standard streams and memory. A module that takes over the compiler finds no file, no network, no other process, and
//! no secret. This file must not know what is compiled.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Niceness: compiling is not urgent, because the running version keeps processing.
const NICENESS: i32 = 10;
/// The newest Landlock ABI whose rights are dropped, where the kernel supports it.
const LANDLOCK: ABI = ABI::V6;

/// The limits that the system enforces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    /// The bytes that the process may write.
    pub(super) output_bytes: u64,
}

/// Ends this process when its parent ends, also when the parent is killed.
///
/// # Errors
/// When the parent has ended already.
pub(super) fn die_with(parent: u32) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask to end with the host")?;
    // The parent may have ended before the call above.
    let now = rustix::process::getppid().map_or(0, Pid::as_raw_pid);
    if u32::try_from(now) != Ok(parent) {
        bail!("the host has ended");
    }
    Ok(())
}

/// Closes all inherited descriptors but the standard streams. Must be called before anything is opened.
pub(super) fn close_inherited() -> Result<()> {
    let open = std::fs::read_dir("/proc/self/fd").context("cannot list the open files")?;
    let open: Vec<i32> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    // The descriptor of the listing itself is closed by now.
    let is_open = |number: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    open.into_iter().filter(|number| *number > 2).filter(is_open).for_each(close);
    Ok(())
}

#[expect(unsafe_code, reason = "no object in this process owns an inherited descriptor")]
fn close(number: i32) {
    // SAFETY: the descriptor is open, and this runs before anything else in the process, so that no object owns a
    // descriptor beyond the standard streams.
    unsafe { rustix::io::close(number) };
}

/// Sets the limits of CPU time and memory.
pub(super) fn limit(limits: Limits) -> rustix::io::Result<()> {
    use rustix::process::{nice, setrlimit};
    let at_most = |n: u64| Rlimit { current: Some(n), maximum: Some(n) };
    // The limit is on data, not on address space: a thread's allocator reserves much address space and uses little.
    setrlimit(Resource::Data, at_most(limits.memory_bytes))?;
    // One second more until the hard limit, so that the signal of the soft limit shows what happened.
    setrlimit(Resource::Cpu, Rlimit { current: Some(limits.cpu_seconds), maximum: Some(limits.cpu_seconds + 1) })?;
    setrlimit(Resource::Fsize, at_most(limits.output_bytes))?;
    setrlimit(Resource::Core, at_most(0))?;
    nice(NICENESS).map(drop)
}

/// Drops, irrevocably, every right that this kernel can drop. Returns the restrictions that it does not support.
pub(super) fn confine() -> Vec<String> {
    let mut missing = Vec::new();
    match landlock() {
        Ok(RulesetStatus::NotEnforced) => missing.push("this kernel has no Landlock".to_owned()),
        Ok(_) => {}
        Err(error) => missing.push(format!("Landlock: {error:#}")),
    }
    if let Err(error) = seccomp() {
        missing.push(format!("seccomp: {error:#}"));
    }
    missing
}

/// Forbids opening, creating and changing files, using ports, and signalling other processes. Also sets no_new_privs.
fn landlock() -> Result<RulesetStatus> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    Ok(ruleset.create()?.restrict_self()?.ruleset)
}

/// Allows only the system calls that compiling needs; any other fails with EPERM. Also sets no_new_privs.
fn seccomp() -> Result<()> {
    let first = |how: SeccompCmpOp, value: u64| -> Result<SeccompRule> {
        Ok(SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, how, value)?])?)
    };
    let first_is = |process: u32| first(SeccompCmpOp::Eq, process.into());
    let own = std::process::id();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    // An abort is a signal that the process sends to itself.
    for call in [libc::SYS_tgkill, libc::SYS_kill] {
        rules.insert(call, vec![first_is(own)?]);
    }
    // A thread queries the limit of its stack.
    rules.insert(libc::SYS_prlimit64, vec![first_is(0)?, first_is(own)?]);
    // Threads, but no processes, which would outlive this one. A filter cannot see the flags of the newer call (clone3);
    // where it is missing, the C library uses the older one.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.insert(libc::SYS_clone, vec![first(SeccompCmpOp::MaskedEq(thread), thread)?]);
    let target = std::env::consts::ARCH.try_into().context("no filter for this processor")?;
    let errno = |number: i32| -> Result<SeccompAction> { Ok(SeccompAction::Errno(u32::try_from(number)?)) };
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let missing = SeccompFilter::new(newer, SeccompAction::Allow, errno(libc::ENOSYS)?, target)?;
    let allowed = SeccompFilter::new(rules, errno(libc::EPERM)?, SeccompAction::Allow, target)?;
    for filter in [missing, allowed] {
        let filter: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&filter)?;
    }
    Ok(())
}

/// Reading and writing what is open, memory, threads, clocks, and the end.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_fcntl,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_prctl,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];
