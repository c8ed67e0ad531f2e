"""Takes from this process what reading a document does not need: files that are not its program's, and the network.

A reader of strangers' files that was taken over would otherwise read what its owner may: the gateway's environment in
`/proc`, its database, its keys. Linux alone can do this, by Landlock and by a network of its own; where the kernel does
not offer them or a container forbids them, limits and an empty environment are all there is, as before.
"""

import contextlib
import ctypes
import mimetypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_EXECUTE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files each version knows; later ones know sixteen."""
_SINCE_NETWORK, _SINCE_SCOPES = 4, 6
_SYSTEM = (
    *("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime", "/etc/passwd"),
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/sys/devices/system/cpu", "/dev/null", "/dev/urandom"),
    *map(str, mimetypes.knownfiles),
)
"""What libraries look at, all of it readable for everybody."""


def confine(programs: Iterable[str] = ()) -> bool:
    """Give up all files but those of Python, of the system's programs and of `programs`, and the network.

    Return whether files are out of reach now. Cannot be undone, and goes on to whatever this process starts.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(_NEW_USER | _NEW_NETWORK)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    if version < 1 or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    rules = _rules(libc, version)
    if rules < 0:
        return False
    try:
        for path in (*_SYSTEM, *_own(), *programs):
            _allow(libc, rules, path)
        return bool(libc.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _rules(libc: ctypes.CDLL, version: int) -> int:
    """Return a descriptor of rules under which nothing is allowed yet."""
    attributes = [(1 << _FILE_RIGHTS.get(version, 16)) - 1]
    if version >= _SINCE_NETWORK:
        attributes.append(0b11)  # TCP: to bind, to connect
    if version >= _SINCE_SCOPES:
        attributes.append(0b11)  # abstract sockets and signals of others
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    made: int = libc.syscall(_CREATE, packed, ctypes.c_size_t(len(packed)), 0)
    return made


def _own() -> Iterable[str]:
    """Return the folders of Python, of what is installed for it, and of our own readers."""
    return (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]))


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    """Let a file or all in a folder be read and run; one that is not there is not needed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = _EXECUTE | _READ_FILE | (_READ_FOLDER if Path(path).is_dir() else 0)
            rule = struct.pack("=Qi", rights, descriptor)
            libc.syscall(_ADD, rules, _PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)
