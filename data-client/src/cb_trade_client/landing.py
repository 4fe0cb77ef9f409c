"""Where the bytes of an answer come to lie: copied once, out of the socket's buffer, and kept by the rows they hold."""

from typing import Protocol

import numpy as np

# What is expected is only a promise; more than this is taken piece by piece.
_BLOCK_MAX_BYTES = 256 * 1024 * 1024
_BLOCK_MIN_BYTES = 256 * 1024
# Beside the rows each message has its own description: some 600 bytes to 16 kB of rows and more.
_OVERHEAD = 1 / 24


class Landing(Protocol):
    """Makes room for binary messages."""

    def expect(self, size_bytes: int) -> None:
        """Take note of how much the service says will come."""

    def room(self, size_bytes: int) -> memoryview:
        """Return memory for one message, to be written once."""


class PieceByPiece:
    """Memory of its own for each message: what the reader lets go of is free. For streams."""

    def expect(self, size_bytes: int) -> None:
        """Nothing is taken ahead."""

    def room(self, size_bytes: int) -> memoryview:
        """See `Landing.room`."""
        return _memory(size_bytes)


class OneBlock:
    """One block for a whole answer, taken at once; another one where more comes than was expected.

    Large memory comes in huge pages, so that filling it for the first time costs fewer page faults than many pieces do.
    """

    def __init__(self) -> None:
        self._block = _memory(0)
        self._used_bytes = 0
        self._expected_bytes = 0

    def expect(self, size_bytes: int) -> None:
        """See `Landing.expect`."""
        self._expected_bytes = round(size_bytes * (1 + _OVERHEAD))

    def room(self, size_bytes: int) -> memoryview:
        """See `Landing.room`."""
        if self._used_bytes + size_bytes > len(self._block):
            wanted_bytes = min(max(self._expected_bytes, _BLOCK_MIN_BYTES), _BLOCK_MAX_BYTES)
            self._block, self._used_bytes = _memory(max(wanted_bytes, size_bytes)), 0
        place = self._block[self._used_bytes : self._used_bytes + size_bytes]
        # Arrow wants its messages on multiples of eight bytes.
        filled_bytes = -(-size_bytes // 8) * 8
        self._used_bytes += filled_bytes
        self._expected_bytes -= filled_bytes
        return place


def _memory(size_bytes: int) -> memoryview:
    # Not a bytearray, which would be filled with zeros first; a large array comes in huge pages where there are any.
    return np.empty(size_bytes, np.uint8).data
