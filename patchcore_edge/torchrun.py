"""``python -m patchcore_edge.torchrun --nproc-per-node 4 … train DATA -o RUN``: torchrun, quiet about what is said.

torchrun ends with a report of its own and exit code 1 when one of its processes ends with an error. Here that
process's sentence is what is said, and its exit code is the program's. All of torchrun's options are known.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from patchcore_edge_runtime.interrupts import INTERRUPTED

__all__ = ["main"]

_LOST = 3


def main(words: Sequence[str] | None = None) -> None:
    """Start as many processes of this program as torchrun's options say, and end with their exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    parser = get_args_parser()
    parser.prog = "python -m patchcore_edge.torchrun"
    given = parser.parse_args(words)
    # The first word that is no option of torchrun's is our command.
    given.training_script_args = [given.training_script, *given.training_script_args]
    given.training_script, given.module = "patchcore_edge", True
    logging.disable(logging.CRITICAL)
    try:
        run(given)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        # One that a signal ended has no code of its own: those that noticed have.
        codes = [failure.exitcode for _, failure in sorted(error.failures.items(), key=lambda one: one[1].timestamp)]
        sys.exit(next((code for code in codes if code > 0), _LOST))
    except (SignalException, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
