"""Objects with tensors between processes of one Linux machine: files in memory, handed over sockets.

Such a file belongs to no folder. It is gone with the last process that holds it, and a small /dev/shm does not limit
it. Tensors are copied into it and out of it in one call each, during which other threads have the interpreter.
"""

import errno
import io
import os
import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

import torch

IS_POSSIBLE = hasattr(os, "memfd_create") and hasattr(socket, "SOCK_SEQPACKET")
ALIGNMENT = 64  # bytes
HEADER = struct.Struct("<QQ")  # bytes of all tensors, then of the pickled rest
MOST_HANDLES = 2  # a message's


def connected() -> tuple[socket.socket, socket.socket]:
    """Two ends; each hears when the other is closed or its process has ended."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Packer(pickle.Pickler):
    """Pickles all but the tensors, whose bytes are gathered in ``parts``."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.parts: list[Any] = []
        self.length = 0

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return None
        place, size = self.length, value.numel() * value.element_size()
        if size:
            padding = -size % ALIGNMENT
            self.parts += [value.contiguous().view(-1).view(torch.uint8).numpy(), bytes(padding)]
            self.length += size + padding
        return place, value.dtype, tuple(value.shape)


class Unpacker(pickle.Unpickler):
    """Tensors are views of ``memory``, uint8 [bytes]."""

    def __init__(self, file: io.BytesIO, memory: torch.Tensor) -> None:
        super().__init__(file)
        self.memory = memory

    def persistent_load(self, identity: Any) -> torch.Tensor:
        place, dtype, shape = identity
        size = torch.Size(shape).numel() * dtype.itemsize
        return self.memory[place : place + size].view(dtype).view(shape)


def send(to: socket.socket, value: Any, handles: Sequence[int] = ()) -> None:
    """Send an object; the other process also gets the file descriptors ``handles``.

    Raises:
        OSError: if the other end is closed, or memory is short.
    """
    packed = io.BytesIO()
    packer = Packer(packed)
    packer.dump(value)
    memory = os.memfd_create("batch")
    try:
        with os.fdopen(memory, "wb", closefd=False, buffering=2**20) as file:
            for part in (*packer.parts, packed.getbuffer()):
                file.write(part)
        socket.send_fds(to, [HEADER.pack(packer.length, packed.getbuffer().nbytes)], [memory, *handles])
    finally:
        os.close(memory)


def receive(of: socket.socket, pinned: bool = False) -> tuple[Any, list[int]]:
    """The next object and the descriptors that came with it; waits for it.

    Args:
        pinned: put its tensors into page-locked memory; needs a GPU.

    Raises:
        EOFError: if the other end was closed, or its process ended.
        OSError: if this process may open no more files.
    """
    try:
        header, handles, _, _ = socket.recv_fds(of, HEADER.size, MOST_HANDLES)
    except OSError:  # another thread has closed this end
        header, handles = b"", []
    if not header:
        raise EOFError
    if not handles:
        raise OSError(errno.EMFILE, f"{os.strerror(errno.EMFILE)}: raise `ulimit -n`")
    length, rest = HEADER.unpack(header)
    memory, *handles = handles
    with os.fdopen(memory, "rb", buffering=0) as file:
        file.seek(0)
        tensors = torch.empty(length, dtype=torch.uint8, pin_memory=pinned)
        fill(tensors.numpy().data, file)
        fill(packed := memoryview(bytearray(rest)), file)
    return Unpacker(io.BytesIO(packed), tensors).load(), handles


def fill(memory: memoryview, file: io.RawIOBase) -> None:
    """Read as much as there is room for; one call reads 2 GiB at most."""
    while len(memory):
        read = file.readinto(memory)
        if not read:
            raise EOFError
        memory = memory[read:]
