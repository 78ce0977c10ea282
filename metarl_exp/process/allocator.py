"""Memory that tensors free is kept for the next tensors.

glibc gives large blocks back to the system at once and asks for them anew at the next operation, whose first touch
of each page then is a page fault. A meta-iteration makes thousands of tensors of megabytes: without this, a third of
its time on two cores goes there (`benchmarks/`).
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of <malloc.h>


def keep_freed_memory() -> bool:
    """Set it for the whole process; False where the C library is another than glibc, and nothing was done.

    Entry points call this, the library itself never does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # No block by mmap, and two gigabytes of free memory at the top of the heap before any goes back.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
