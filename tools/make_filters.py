"""Write the seccomp filters that the sandbox loads, two per architecture (needs pyseccomp and libseccomp).

Run `python tools/make_filters.py` after a change here and commit the files. They are shipped as compiled BPF,
so that a machine that runs jobs needs no libseccomp.

Everything is allowed but what is refused below. Sources: bubblewrap is no policy of its own, so the list
follows what container engines refuse by default, less what our namespaces already make harmless, plus
`io_uring` and the whole network, since no batch job has one; but for `NAME-network.bpf`, under which a session speaks
IP with itself, and a task of several nodes with the others where the supplier grants it.
"""

import errno
import sys
import tempfile
from pathlib import Path

import pyseccomp

FILTERS = Path(__file__).parents[1] / "src" / "mosu" / "sandbox" / "filters"
ARCHITECTURES = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}

REFUSED = """
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd
    mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
    setns unshare
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    keyctl add_key request_key
    kexec_load kexec_file_load init_module finit_module delete_module reboot
    swapon swapoff acct quotactl quotactl_fd syslog lookup_dcookie nfsservctl vhangup uselib
    open_by_handle_at name_to_handle_at fanotify_init
    settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname
    iopl ioperm modify_ldt move_pages migrate_pages
    sched_setaffinity
"""
# `sched_setaffinity` too: without a delegated cgroup, affinity holds a job to the cores that it bought.

CLONE_NEW_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80)
"""NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME (linux/sched.h)."""
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
FAMILIES_MAX = 64
"""More than Linux has."""


def filter_for(architecture: int, *, network: bool = False) -> bytes:
    """The compiled filter: other architectures' system calls (32 bit, x32) kill the process.

    `network`: sockets of IP, and of netlink, by which libraries list the machine's addresses.
    """
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    if architecture != pyseccomp.system_arch():
        rules.add_arch(architecture)
        rules.remove_arch(pyseccomp.system_arch())
    denied, unknown = pyseccomp.ERRNO(errno.EPERM), pyseccomp.ERRNO(errno.ENOSYS)
    for name in REFUSED.split():
        try:
            rules.add_rule(denied, name)
        except (OSError, ValueError, RuntimeError) as error:
            print(f"  {name}: {error}, left out", file=sys.stderr)  # noqa: T201
    for flag in CLONE_NEW_FLAGS:
        rules.add_rule(denied, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # The flags of clone3 lie in memory, which a filter cannot read: "no such call" makes libc use clone.
    rules.add_rule(unknown, "clone3")
    if network:
        for family in set(range(FAMILIES_MAX)) - {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}:
            rules.add_rule(denied, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
        rules.add_rule(denied, "socket", pyseccomp.Arg(0, pyseccomp.GE, FAMILIES_MAX))
    else:
        rules.add_rule(denied, "socket", pyseccomp.Arg(0, pyseccomp.NE, AF_UNIX))
    for request in (TIOCSTI, TIOCLINUX):
        # The kernel looks at 32 bits of the request only, so the filter must too (CVE-2019-10063).
        rules.add_rule(denied, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, request))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def main() -> None:
    FILTERS.mkdir(exist_ok=True)
    for name, architecture in ARCHITECTURES.items():
        for network, suffix in ((False, ""), (True, "-network")):
            compiled = filter_for(architecture, network=network)
            (FILTERS / f"{name}{suffix}.bpf").write_bytes(compiled)
            print(f"{name}{suffix}: {len(compiled)} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
