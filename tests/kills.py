"""Work in a process of its own that is killed in the midst of it, as by a loss of power."""

import os
import signal
import sys
import traceback
from collections.abc import Callable

# Auditing events of a change on the disk, beside the opening of a file to write it.
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"}


def killed(work: Callable[[], object]) -> bool:
    """Whether `work`, called in a fork, kills its process; False where it comes to its end. Raises nothing of its own.

    Fails where the fork ends otherwise: its error is on stderr.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (0, -signal.SIGKILL), f"the fork ended with {ended}"
    return ended != 0


def killed_at(n: int, work: Callable[[], object], *, also: str = "") -> bool:
    """Whether `work`, called in a fork, is killed before its `n`th change of a file; False where it makes fewer.

    Args:
        also: one more auditing event that counts as a change.
    """

    def counted() -> None:
        left = n

        def count(event: str, args: tuple[object, ...]) -> None:
            nonlocal left
            writes = (
                event == "open"
                and isinstance(args[2], int)
                and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if writes or event in _CHANGES or event == also:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()

    return killed(counted)
