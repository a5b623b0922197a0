"""Settings of a process that trains, imported before torch: it reads some of them when it loads."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h

# One compiler in this process, not a pool of 200 MB workers.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
# Short spins at barriers. Tokens a second of 10M parameters on 2 cores, quiet and with another process busy on one:
# 1,000 spins 8,300 and 4,800; 3,000: 9,200 and 4,000; 10,000: 9,700 and 3,900, at times 1,600.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def keep_freed_memory() -> None:
    """Lets malloc keep what is freed, instead of giving it back and asking for it again in every step.

    30,000 page faults a step of 10M parameters were a fifth of its time; the peak is the same. Does nothing where
    malloc is not glibc's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    mallopt(M_TOP_PAD, 64 << 20)


keep_freed_memory()
