"""libmpg123's words are kept from the terminal; whatever else is written there is not."""

import ctypes
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.decoders.library_messages import collected
from data.audio.decoding import decode, decode_audio, seconds_of

WARNING = "Warning: Xing stream size off by more than 1%"


def mp3_that_libmpg123_warns_of() -> bytes:
    """Half of it is missing, which its tag knows."""
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(48_000) / 9) * 0.3, 16_000, format="MP3")
    return file.getvalue()[:3000]


def print_by_c(text: str) -> None:
    library = ctypes.CDLL(None)
    library.fputs(text.encode(), ctypes.c_void_p.in_dll(library, "stderr"))
    library.fflush(None)


def test_the_terminal_stays_empty_and_the_words_come_with_the_samples(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = mp3_that_libmpg123_warns_of()
    (tmp_path / "a.mp3").write_bytes(content)
    for value in (content, str(tmp_path / "a.mp3")):
        assert any(line.startswith(WARNING) for line in decode(value).said)
        assert seconds_of(value) > 0
    with pytest.raises(ValueError, match="cut off"):
        decode_audio(content, whole=True)
    assert capfd.readouterr().err == ""


def test_lines_of_others_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    with collected(said):
        print_by_c("another library's line\n")
        print_by_c(f"{WARNING}\n")
        os.write(2, b"written to the descriptor\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'of a child\\n')"], check=True)
    print_by_c("after it\n")
    assert said == [WARNING]
    assert sorted(capfd.readouterr().err.splitlines()) == [
        "after it", "another library's line", "of a child", "written to the descriptor"
    ]  # fmt: skip


def test_threads_get_their_own_words_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    warned, quiet = mp3_that_libmpg123_warns_of(), io.BytesIO()
    soundfile.write(quiet, np.sin(np.arange(48_000) / 9) * 0.3, 16_000, format="MP3")
    found: list[tuple[int, int]] = []

    def work() -> None:
        for _ in range(20):
            found.append((len(decode(warned).said), len(decode(quiet.getvalue()).said)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and all(of_warned > 0 and of_quiet == 0 for of_warned, of_quiet in found)
    assert capfd.readouterr().err == ""


def test_a_forked_process_writes_to_its_own_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    with collected(said):
        child = os.fork()
        if child == 0:
            print_by_c("of the fork\n")
            os._exit(0 if decode(mp3_that_libmpg123_warns_of()).said else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert said == []
    assert capfd.readouterr().err == "of the fork\n"
