"""Local paths and object stores behave alike: whole files, listings, retries, and errors that name the file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data import storage
from data.storage import StorageError

from ..support.object_store import object_store


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "place")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_what_is_written_is_there(place: str) -> None:
    address = storage.join(place, "a/b.bin")
    assert not storage.exists(address)
    storage.write_bytes(address, b"content")
    assert storage.exists(address) and storage.read_bytes(address) == b"content"
    assert storage.is_folder(storage.join(place, "a")) and not storage.is_folder(address)
    storage.write_bytes(address, b"other")
    with storage.open_file(address) as file:
        file.seek(2)
        assert file.read() == b"her"
    storage.remove(address)
    storage.remove(address)
    assert not storage.exists(address)


def test_parts_of_files_end_where_the_file_does(place: str) -> None:
    address = storage.join(place, "a.bin")
    storage.write_bytes(address, b"0123456789")
    for start, size, part in ((0, 3, b"012"), (8, 5, b"89"), (10, 1, b""), (99, 1, b""), (2, 0, b"")):
        assert storage.read_part(address, start, size) == part
    with pytest.raises(StorageError, match=r"none\.bin: No such file"):
        storage.read_part(storage.join(place, "none.bin"), 0, 1)


def test_listings(place: str) -> None:
    for name in ("b.txt", "a.txt", "deep/c.txt", "deep/er/d.bin"):
        storage.write_bytes(storage.join(place, name), b"x")
    names = lambda found: [file[len(place) + 1 :] for file in found]  # noqa: E731
    assert names(storage.files_below(place)) == ["a.txt", "b.txt", "deep/c.txt", "deep/er/d.bin"]
    assert names(storage.matching(storage.join(place, "*.txt"))) == ["a.txt", "b.txt"]
    assert names(storage.matching(storage.join(place, "**/*.txt"))) == ["a.txt", "b.txt", "deep/c.txt"]
    assert names(storage.matching(storage.join(place, "a.txt"))) == ["a.txt"]
    assert storage.matching(storage.join(place, "none*")) == []
    storage.write_bytes(storage.join(place, "new.txt"), b"x")
    assert "new.txt" in names(storage.matching(storage.join(place, "*.txt")))


def test_what_ends_badly_is_not_there(place: str) -> None:
    address = storage.join(place, "half.bin")
    storage.write_bytes(address, b"before")
    with pytest.raises(KeyError), storage.written_whole(address) as path:
        Path(path).write_bytes(b"half")
        raise KeyError
    assert storage.read_bytes(address) == b"before"
    assert [file[len(place) + 1 :] for file in storage.files_below(place)] == ["half.bin"]


def test_what_is_not_there_is_named_at_once(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: pytest.fail("waited for what cannot come"))
    for read in (storage.read_bytes, storage.open_file):
        with pytest.raises(StorageError, match=r"cannot read .*none\.bin: No such file"):
            read(storage.join(place, "none.bin"))


class Flaky:
    """Fails so many times with what networks fail with, then answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


def network_errors() -> list[Exception]:
    import aiohttp
    import botocore.exceptions

    return [
        OSError("connection reset"),
        TimeoutError(),
        aiohttp.ServerDisconnectedError(),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"),
    ]


@pytest.mark.parametrize("error", network_errors(), ids=lambda error: type(error).__name__)
def test_a_network_s_failures_are_waited_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", waits.append)
    assert storage.retried(Flaky(storage.ATTEMPTS - 1, error), "s3://x/shard-7.parquet") == "answer"
    assert len(waits) == storage.ATTEMPTS - 1
    for attempt, wait in enumerate(waits):
        assert storage.FIRST_WAIT * 2**attempt <= wait <= 1.5 * storage.FIRST_WAIT * 2**attempt
    with pytest.raises(StorageError, match=r"s3://x/shard-7\.parquet.*tried 5 times"):
        storage.retried(Flaky(storage.ATTEMPTS, error), "s3://x/shard-7.parquet")


def test_a_disk_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(StorageError, match="/x/shard"):
        storage.retried(Flaky(1, OSError("broken disk")), "/x/shard")


def test_our_own_faults_are_not_hidden() -> None:
    flaky = Flaky(1, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        storage.retried(flaky, "s3://x/y")


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(StorageError, match="nosuch://x/y"):
        storage.read_bytes("nosuch://x/y")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot write"):
        storage.write_bytes(str(tmp_path / "x" / "y"), b"")


def test_joined_addresses() -> None:
    cases: list[tuple[str, str, Any]] = [
        ("s3://b/c", "d.wav", "s3://b/c/d.wav"), ("/a", "/b/c", "/b/c"), ("a", "s3://b/c", "s3://b/c"), ("", "x", "x"),
    ]  # fmt: skip
    for folder, name, expected in cases:
        assert storage.join(folder, name) == expected
