"""Run a command with user namespaces denied to it, as in a plain container: `python denied.py CMD...`.

A system-call filter of eight instructions answers EPERM to clone and unshare with CLONE_NEWUSER; nothing of
the machine changes.
"""

import ctypes
import os
import struct
import sys

NUMBERS = {"x86_64": (56, 272), "aarch64": (220, 97)}
"""clone, unshare."""
CLONE3, CLONE_NEWUSER = 435, 0x10000000
LOAD, EQUAL, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
EPERM, ENOSYS = 1, 38


def main(command: list[str]) -> None:
    clone, unshare = NUMBERS[os.uname().machine]
    program = [
        (LOAD, 0, 0, 0),
        (EQUAL, 5, 0, CLONE3),
        (EQUAL, 1, 0, clone),
        (EQUAL, 0, 2, unshare),
        (LOAD, 0, 0, 16),
        (ANY_OF, 2, 0, CLONE_NEWUSER),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE | ENOSYS),
        (RETURN, 0, 0, REFUSE | EPERM),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    described = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    pr_set_no_new_privs, pr_set_seccomp, seccomp_mode_filter = 38, 22, 2
    if libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0) or libc.prctl(
        pr_set_seccomp, seccomp_mode_filter, described
    ):
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
