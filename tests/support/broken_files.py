"""Whole corpora that are damaged: tables, Parquet, Kaldi's folders, folders of recordings, archives."""

import gzip
import io
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .broken_audio import flipped, whole

WORDS = ["bir", "iki", "üç", "dörd"]


@dataclass(frozen=True)
class FileCase:
    """A corpus.

    Attributes:
        make: writes it into a folder and gives the input's address.
        refused: a pattern of the message with which the whole corpus is refused; None where it is prepared.
        texts: of the rows that are kept, where it is not refused.
        reasons: a pattern for each row that is left out.
        damaged: bytes were changed at random places: refused, left out or unharmed, each is right, but no other text.
    """

    name: str
    make: Callable[[Path], Path | str]
    refused: str | None = None
    texts: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    damaged: bool = False


def clips(folder: Path, count: int = len(WORDS)) -> list[str]:
    """``count`` recordings in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"clip{i}.wav" for i in range(count)]
    for name in names:
        (folder / name).write_bytes(whole("wav"))
    return names


def table(name: str, content: bytes | str) -> Callable[[Path], Path]:
    """Writes a table beside the recordings that it names."""

    def make(folder: Path) -> Path:
        clips(folder)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return make


def csv_text(separator: str = ",") -> str:
    return "".join(f"{one}{separator}{other}\n" for one, other in [("audio", "text"), *rows()])


def rows() -> list[tuple[str, str]]:
    return [(f"clip{i}.wav", word) for i, word in enumerate(WORDS)]


def json_text() -> str:
    return "".join(json.dumps({"audio": name, "text": word}) + "\n" for name, word in rows())


# CSV, TSV


def separated_cases() -> Iterator[FileCase]:
    whole_table, three = csv_text(), tuple(WORDS[:3])
    header, first, *rest = whole_table.splitlines(keepends=True)
    refused = {
        "empty.csv": ("", "is empty"), "blank lines.csv": ("\n\n\n", "is empty"),
        "header alone.csv": (header, "has no rows"),
        "column twice.csv": ("audio,text,text\nclip0.wav,bir,iki\n", "the header has 'text' twice"),
        "no header.csv": (first, "line 1 is a row"), "no audio.csv": ("text\nbir\n", "no column for audio"),
        "no text.csv": ("audio\nclip0.wav\n", "no column for text"),
        "semicolons in a header alone.csv": ("audio;text\nclip0.wav,bir\n", "no row has its 2 fields"),
        "UTF-16 cut.csv": (whole_table.encode("utf-16")[:-1], "not UTF-16 to its end"),
        "UTF-16 without mark.csv": (whole_table.encode("utf-16-le"), "UTF-16"),
        "Latin-1 header.csv": (b"audio,text,s\xfcz\nclip0.wav,bir,x\n", "line 1 is not UTF-8"),
        "noise.csv": (bytes(range(256)) * 40, "."), "NULs.csv": (bytes(5000), "."),
        "a recording.csv": (whole("flac"), "."),
        "quote never closed.csv": (header + first + 'clip1.wav,"iki\n' + "".join(rest), "after row 1"),
        "text behind a quote.csv": (header + first + 'clip1.wav,"iki" x\n', "after row 1"),
        "field of 20 MB.csv": (header + first + f'clip1.wav,"{"a" * 20_000_000}"\n', "after row 1"),
        "empty.tsv": ("", "is empty"),
    }  # fmt: skip
    for name, (content, reason) in refused.items():
        yield FileCase(name, table(name, content), reason)
    kept = {
        "too many fields.csv": (whole_table.replace("dörd", "dörd,beş"), "3 fields where the header has 2"),
        "too few fields.csv": (whole_table.replace(",dörd", ""), "1 fields where the header has 2"),
        "Latin-1 row.csv": (whole_table.encode().replace("dörd".encode(), "dörd".encode("latin-1")), "not UTF-8"),
        "NUL in a row.csv": (whole_table.replace("dörd", "dö\0rd"), r"holds U\+0000"),
        "NUL in a path.csv": (whole_table.replace("clip3", "cl\0ip3"), "NUL"),
        "header again.csv": (whole_table.replace("clip3.wav,dörd", "audio,text"), "the header again"),
        "out of its folder.csv": (whole_table.replace("clip3", "../clip3"), "leaves"),
        "Latin-1 row.tsv": (csv_text("\t").encode().replace("dörd".encode(), "dörd".encode("latin-1")), "not UTF-8"),
        "too few fields.tsv": (csv_text("\t").replace("\tdörd", ""), "1 fields where the header has 2"),
        "spaces.tsv": (csv_text("\t").replace("\tdörd", " dörd"), "1 fields where the header has 2"),
        "out of its folder.tsv": (csv_text("\t").replace("clip3", "x/../../clip3"), "leaves"),
        "cut.csv": (whole_table[: whole_table.index(",dörd")], "1 fields where the header has 2"),
    }
    for name, (content, reason) in kept.items():
        yield FileCase(name, table(name, content), texts=three, reasons=(reason,))
    for name, content in (
        ("old Mac.csv", whole_table.replace("\n", "\r")),
        ("Windows.csv", whole_table.replace("\n", "\r\n")),
        ("mark.csv", b"\xef\xbb\xbf" + whole_table.encode()),
        ("blank lines.tsv", csv_text("\t").replace("\n", "\n\n")),
        ("semicolons.csv", csv_text(";")), ("commas.tsv", whole_table), ("UTF-16.csv", whole_table.encode("utf-16")),
        ("UTF-16 BE.csv", b"\xfe\xff" + whole_table.encode("utf-16-be")),
    ):  # fmt: skip
        yield FileCase(name, table(name, content), texts=tuple(WORDS))
    named = {"columns": {"text": "sentence"}}
    yield FileCase("column not there.csv", table("a.csv", whole_table), "but it has no column", settings=named)
    absolute = "audio,text\n/etc/hostname,bir\n/dev/zero,iki\nclip0.wav,üç\n"
    for name, root, reason in (
        ("root", {"audio_root": "corpus"}, "leaves"),
        ("no root", {}, "not audio|not a plain file"),
    ):
        yield FileCase(f"absolute with {name}.csv", table("a.csv", absolute), texts=("üç",), reasons=(reason, reason),
                       settings=root)  # fmt: skip


# JSON


def json_cases() -> Iterator[FileCase]:
    lines, three = json_text(), tuple(WORDS[:3])
    listed = json.dumps([json.loads(line) for line in lines.splitlines()])
    refused = {
        "empty.jsonl": ("", "is empty"), "blank.jsonl": ("\n\n", "is empty"),
        "numbers.jsonl": ("1\n2\n", "int, not an object"),
        "words.jsonl": ("bir\niki\n", "neither JSON lines"),
        "UTF-16 cut.jsonl": (lines.encode("utf-16")[:-1], "UTF-16"),
        "UTF-16 without mark.jsonl": (lines.encode("utf-16-le"), "neither JSON lines|not one of"),
        "noise.jsonl": (bytes(range(256)) * 40, "neither JSON lines"),
        "NULs.jsonl": (bytes(5000), "neither JSON lines"),
        "no text.jsonl": ('{"audio": "clip0.wav"}\n', "no column for text"),
        "no audio.jsonl": ('{"text": "bir"}\n', "no column for audio"),
        "other names.jsonl": ('{"a": "clip0.wav", "b": "bir"}\n', "no column for audio"),
        "empty list.json": ("[]", "empty list"), "list of numbers.json": ("[1, 2]", "int, not an object"),
        "list cut.json": (listed[:-20], "after item 3"),
        "list without comma.json": (listed.replace("}, {", "} {", 1), "after item"),
        "list never ends.json": (listed[:-1] + ",", "after item 4"),
        "list, a key twice.json": ('[{"audio": "clip0.wav", "text": "a", "text": "b"}]', "twice"),
        "list in Latin-1.json": (json.dumps([{"audio": "ç"}], ensure_ascii=False).encode("latin-1"), "not UTF-8"),
        "list nested.json": ("[" * 100_000, "nested too deeply|after item"), "one bracket.json": ("[", "after item 0"),
    }  # fmt: skip
    for name, (content, reason) in refused.items():
        yield FileCase(name, table(name, content), reason)
    last = lines.splitlines()[-1]
    kept = {
        "line cut.jsonl": (lines[:-20], "not JSON"),
        "line in Latin-1.jsonl": (lines.encode().replace(b"d\\u00f6rd", b"d\xf6rd"), "not UTF-8"),
        "out of its folder.jsonl": (lines.replace("clip3", "../clip3"), "leaves"),
        "other columns.jsonl": (lines.replace(last, '{"path": "clip3.wav", "words": "dörd"}'), "no audio"),
        "a list among lines.jsonl": (lines.replace(last, f"[{last}]"), "not an object"),
        "a list with a number.json": (listed[:-1].replace(last.replace('"}', '"}'), "7") + "]", "int, not an object"),
    }
    for name, (content, reason) in kept.items():
        yield FileCase(name, table(name, content), texts=three, reasons=(reason,))
    nemo = lines.replace('"audio"', '"audio_filepath"').replace("clip3", "../../clip3")
    yield FileCase("NeMo's out of its folder", table("manifest.json", nemo), texts=three, reasons=("leaves",))
    mark = b"\xef\xbb\xbf" + lines.encode()
    yield FileCase("mark.jsonl", table("a.jsonl", mark), texts=tuple(WORDS))
    yield FileCase("UTF-16.jsonl", table("a.jsonl", lines.encode("utf-16")), texts=tuple(WORDS))
    packed = gzip.compress(lines.encode(), mtime=0)
    for name, content in (("cut.jsonl.gz", packed[:-10]), ("cut early.jsonl.gz", packed[:30]),
                          ("flipped.jsonl.gz", flipped(packed, 40, 3)), ("no gzip.jsonl.gz", lines.encode()),
                          ("wrong sum.jsonl.gz", flipped(packed, len(packed) - 6, 2))):  # fmt: skip
        yield FileCase(name, table(name, content), "cannot be read to its end|neither JSON lines")
    for name, content in (
        ("cut.csv.gz", gzip.compress(csv_text().encode())[:-10]),
        ("no gzip.csv.gz", csv_text().encode()),
    ):
        yield FileCase(name, table(name, content), "cannot be read to its end")


# Parquet and Arrow


def audio_table(texts: Any = None, audio: Any = None, **columns: Any) -> pa.Table:
    audio = [{"bytes": whole("flac"), "path": f"clip{i}.flac"} for i in range(4)] if audio is None else audio
    return pa.table({"audio": audio, "text": WORDS if texts is None else texts} | columns)


def parquet_bytes(content: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(content, file, **options)
    return file.getvalue()


def one_parquet(content: bytes, name: str = "a.parquet") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        return folder / name

    return make


def several_parquet(*tables: pa.Table) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        for number, one in enumerate(tables):
            pq.write_table(one, folder / f"{number}.parquet")
        return folder

    return make


def parquet_cases() -> Iterator[FileCase]:
    good = audio_table(id=list("0123"))
    content = parquet_bytes(good, row_group_size=1, compression="none")
    footer = int.from_bytes(content[-8:-4], "little") + 8
    for name, damaged in (("empty", b""), ("text", b"bir,iki\n"), ("magic bytes alone", b"PAR1"),
                          ("magic twice", b"PAR1PAR1"),
                          ("cut at its end", content[:-1]), ("cut in its footer", content[: -footer // 2]),
                          ("cut in its middle", content[: len(content) // 2]),
                          ("zeros at its end", content[:-8] + bytes(8)),
                          ("footer of 2 GB", content[:-8] + b"\xff\xff\xff\x7fPAR1"),
                          ("a recording", whole("flac"))):  # fmt: skip
        yield FileCase(f"parquet: {name}", one_parquet(damaged), "not a whole Parquet file")
    yield FileCase("parquet: no rows", one_parquet(parquet_bytes(good.slice(0, 0))), "no rows|not one of 0 rows")
    yield FileCase("parquet: no columns", one_parquet(parquet_bytes(pa.table({"a": [1]}))), "no column for audio")
    yield FileCase("parquet: no text", one_parquet(parquet_bytes(good.drop(["text"]))), "no column for text")
    second = audio_table([f"{word} iki" for word in WORDS], id=list("efgh"))
    yield FileCase(
        "parquet: second file without text", several_parquet(good, second.drop(["text"])), "no column for text"
    )
    lists = audio_table([[word] for word in WORDS], id=list("efgh"))
    four = tuple(WORDS)
    yield FileCase("parquet: second file with lists for text", several_parquet(good, lists), texts=four,
                   reasons=("text is list",) * 4)  # fmt: skip
    yield FileCase("parquet: second file with numbers for audio",
        several_parquet(good, audio_table(audio=[1, 2, 3, 4])),
                   texts=four, reasons=("audio is int",) * 4)  # fmt: skip
    yield FileCase("parquet: the same file twice", several_parquet(good, good), texts=four,
                   reasons=("an earlier row has this id",) * 4)  # fmt: skip
    numbers = one_parquet(parquet_bytes(audio_table([1, 2, 3, 4])))
    yield FileCase("parquet: numbers for text", numbers, texts=("1", "2", "3", "4"))
    for name, column, reason in (
        ("bytes", pa.array([b"bir"] * 4), "text is bytes"), ("truths", pa.array([True] * 4), "text is bool"),
        ("days", pa.array([5] * 4, pa.date32()), "text is date"),
        ("times", pa.array([2**62] * 4, pa.timestamp("us")), "text is"), ("nothing", pa.nulls(4), "text is null"),
        ("decimals", pa.array([1] * 4, pa.decimal128(5, 2)), "text is Decimal"),
        ("texts that are not UTF-8", pa.array([b"d\xf6rd"] * 4).view(pa.string()), "text is bytes"),
        ("nanoseconds", pa.array([2**62 + 1] * 4, pa.timestamp("ns")), "text is"),
    ):  # fmt: skip
        table = audio_table(column, id=list("efgh"))
        yield FileCase(f"parquet: {name} for text", several_parquet(good, table), texts=four, reasons=(reason,) * 4)
    part = audio_table(pa.array([b"bir", b"iki", "üç".encode(), b"d\xf6rd"]).view(pa.string()))
    yield FileCase(
        "parquet: one text not UTF-8", one_parquet(parquet_bytes(part)), texts=four[:3], reasons=("text is bytes",)
    )
    for name, value, reason in (("null", None, "no audio"), ("of nulls", {"bytes": None, "path": None}, "no audio"),
                                ("empty", {"bytes": b"", "path": None}, "no audio"),
                                ("a text", {"bytes": b"bir", "path": None}, "not audio"),
                                ("a path out of its folder", {"bytes": None, "path": "../x.wav"},
                                    "leaves")):  # fmt: skip
        audio = [*good["audio"].to_pylist()[:3], value]
        yield FileCase(f"parquet: audio {name}", one_parquet(parquet_bytes(audio_table(audio=audio))), texts=four[:3],
                       reasons=(reason,))  # fmt: skip
    floats = pa.array([[0.1] * 8000] * 4)
    yield FileCase("parquet: bare samples", several_parquet(good, audio_table(audio=floats)), texts=four,
                   reasons=("audio is list",) * 4)  # fmt: skip
    for number in range(12):  # the first bytes are a page's header, the middle is FLAC, the last is the footer
        place = [4, 8, 15, 30, 60, len(content) // 3, len(content) // 2, -footer, -footer + 9, -footer // 2, -30, -9][
            number
        ]
        yield FileCase(f"parquet: flip {number}", one_parquet(flipped(content, place, 2)), damaged=True)
    summed = parquet_bytes(good, row_group_size=1, compression="none", write_page_checksum=True, write_statistics=False)
    place = summed.rindex("üç".encode())
    for name, byte in (("text", place + 1), ("audio", summed.index(b"fLaC") + 12)):  # what no decoder looks at
        yield FileCase(f"parquet: {name} flipped beside a checksum", one_parquet(flipped(summed, byte, 0)),
                       texts=(*four[:2], four[3]) if name == "text" else four[1:], reasons=("row group . is damaged",))  # fmt: skip # noqa: E501
    packed = parquet_bytes(good, row_group_size=2, compression="zstd")
    for share in range(1, 6):
        yield FileCase(f"parquet: compressed, flip {share}", one_parquet(flipped(packed, len(packed) * share // 6, 5)),
                       damaged=True)  # fmt: skip
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, good.schema) as writer:
        writer.write_table(good)
    arrow = sink.getvalue()
    for name, damaged in (
        ("empty", b""),
        ("cut", arrow[: len(arrow) // 2]),
        ("text", b"bir"),
        ("start flipped", flipped(arrow, 5, 7)),
    ):
        yield FileCase(f"arrow: {name}", one_parquet(damaged, "a.arrow"), ".")


# Kaldi


def kaldi(folder: Path, **changed: str | bytes | None) -> Path:
    """A Kaldi folder; ``changed`` by file, with None for one that is missing."""
    names = clips(folder / "wav")
    files: dict[str, str | bytes | None] = {
        "wav_scp": "".join(f"utt{i} {folder}/wav/{name}\n" for i, name in enumerate(names)),
        "text": "".join(f"utt{i} {word}\n" for i, word in enumerate(WORDS)),
        "utt2spk": "".join(f"utt{i} ann\n" for i in range(4)),
    } | changed
    for name, content in files.items():
        if content is not None:
            content = content.replace("FOLDER", str(folder)) if isinstance(content, str) else content
            path = folder / name.replace("_", ".")
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def kaldi_cases() -> Iterator[FileCase]:
    four, three = tuple(WORDS), tuple(WORDS[:3])
    text = "".join(f"utt{i} {word}\n" for i, word in enumerate(WORDS))
    scp = "".join(f"utt{i} FOLDER/wav/clip{i}.wav\n" for i in range(4))
    segments = "".join(f"utt{i} utt{i} 0.1 0.4\n" for i in range(4))
    commands = ("sox FOLDER/wav/clip0.wav -t wav - |", "touch FOLDER/ran |",
        "cat FOLDER/wav/clip0.wav | touch FOLDER/ran |",
                "sh -c 'touch FOLDER/ran' |", "$(touch FOLDER/ran) |",
                "flac -c -d -s -o FOLDER/ran FOLDER/wav/clip0.wav |",
                "gunzip -c x.gz|", "'unclosed |", "|", "cat a b |")  # fmt: skip
    for command in commands:
        yield FileCase(f"kaldi: command {command}", partial(kaldi, wav_scp=f"utt0 {command}\n"), "is a command")
    for name, changed, refused in (
        ("no text", {"text": None}, "text"), ("empty text", {"text": ""}, "is empty"),
        ("empty wav.scp line", {"wav_scp": "utt0\n"}, "nothing after it"),
        ("wav.scp not UTF-8", {"wav_scp": b"utt0 \xff.wav\n"}, "not UTF-8"),
        ("wav.scp with a recording twice", {"wav_scp": scp + "utt0 FOLDER/other.wav\n"}, "'utt0' twice"),
        ("segments with a segment twice", {"segments": segments + "utt0 utt1 0 0.2\n"}, "'utt0' twice"),
        ("segments of two fields", {"segments": "utt0 utt0 0.1\n"}, "2 fields|fields after it"),
        ("segments of four fields", {"segments": "utt0 utt0 0.1 0.2 A\n"}, "fields after it"),
        ("utt2spk without speaker", {"utt2spk": "utt0\n"}, "nothing after it"),
        ("wav.scp in UTF-16", {"wav_scp": scp.encode("utf-16")}, "not UTF-8"),
    ):  # fmt: skip
        yield FileCase(f"kaldi: {name}", partial(kaldi, **changed), refused)
    for name, changed, reason in (
        ("text not UTF-8", {"text": text.encode().replace("dörd".encode(), b"d\xf6rd")}, "holds U.FFFD"),
        ("text without words", {"text": text.replace(" dörd", "")}, "text is empty"),
        ("no recording", {"wav_scp": scp.replace("utt3", "utt9")}, "no audio"),
        ("recording absent", {"wav_scp": scp.replace("clip3", "clip9")}, "cannot open"),
        ("a path out of the working folder", {"wav_scp": scp.replace("FOLDER/wav/clip3", "../../../../../../x")},
            "leaves"),
        ("a segment of no recording", {"segments": segments.replace("utt3 utt3", "utt3 utt9")}, "no audio"),
        ("no segment", {"segments": segments.replace("utt3 utt3 0.1 0.4\n", "")}, "no audio"),
        ("a segment that ends before it starts", {"segments": segments.replace("utt3 utt3 0.1 0.4",
            "utt3 utt3 0.4 0.1")}, "before it starts"),
        ("a segment behind the end", {"segments": segments.replace("utt3 utt3 0.1 0.4", "utt3 utt3 7 8")},
            "starts at|ends at"),
        ("a segment of words", {"segments": segments.replace("utt3 utt3 0.1 0.4", "utt3 utt3 a b")}, "start is 'a'"),
        ("a segment of NaN", {"segments": segments.replace("utt3 utt3 0.1 0.4", "utt3 utt3 nan nan")},
            "start is 'nan'"),
    ):  # fmt: skip
        yield FileCase(f"kaldi: {name}", partial(kaldi, **changed), texts=three, reasons=(reason,))
    yield FileCase(
        "kaldi: an utterance twice", partial(kaldi, text=text + "utt0 beş\n"), texts=four, reasons=("earlier row",)
    )
    mark = b"\xef\xbb\xbf"
    yield FileCase(
        "kaldi: marks and carriage returns", partial(kaldi, text=mark + text.replace("\n", "\r\n").encode()), texts=four
    )
    yield FileCase(
        "kaldi: tabs in a text", partial(kaldi, text=text.replace("dörd", "dörd\tbeş")), texts=(*three, "dörd\tbeş")
    )


# Folders


def beside(folder: Path, change: Callable[[Path], object]) -> Path:
    """Recordings with a text beside each, changed."""
    for name, word in zip(clips(folder), WORDS, strict=True):
        (folder / name).with_suffix(".txt").write_text(word, encoding="utf-8")
    change(folder)
    return folder


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def folder_cases() -> Iterator[FileCase]:
    three = tuple(WORDS[:3])
    for name, change, reason in (
        ("Latin-1 text", lambda folder: (folder / "clip3.txt").write_bytes(b"d\xf6rd"), "text is bytes"),
        ("empty text", lambda folder: (folder / "clip3.txt").write_text(""), "text is empty"),
        ("NULs for text", lambda folder: (folder / "clip3.txt").write_bytes(bytes(9)), r"holds U\+0000|text is bytes"),
        ("a recording for text", lambda folder: (folder / "clip3.txt").write_bytes(whole("flac")), "text is bytes"),
        ("a link to nothing", lambda folder: replaced(folder / "clip3.wav", lambda path: path.symlink_to("nowhere")),
            "cannot open"),
        ("a pipe", lambda folder: replaced(folder / "clip3.wav", os.mkfifo), "not a plain file"),
        ("an empty recording", lambda folder: (folder / "clip3.wav").write_bytes(b""), "empty"),
        ("a device", lambda folder: replaced(folder / "clip3.wav", lambda path: path.symlink_to("/dev/zero")),
            "not a plain file"),
    ):  # fmt: skip
        yield FileCase(f"folder: {name}", partial(beside, change=change), texts=three, reasons=(reason,))
    yield FileCase(
        "folder: no text for one", partial(beside, change=lambda folder: (folder / "clip3.txt").unlink()), texts=three
    )
    yield FileCase("folder: a folder called clip3.wav", partial(
        beside, change=lambda folder: replaced(folder / "clip3.wav", Path.mkdir)), texts=three)  # fmt: skip
    yield FileCase("folder: empty", lambda folder: folder.mkdir() or folder, "is empty|folder with files")
    yield FileCase(
        "folder: recordings alone", lambda folder: clips(folder) and folder, "recordings? without a transcript"
    )
    metadata = csv_text().replace("audio", "file_name")
    for name, content, refused in (
        ("empty.csv", "", "is empty"), ("no file_name.csv", metadata.replace("file_name", "x"), "no column for audio"),
        ("quote never closed.csv", metadata + 'clip0.wav,"bir', "after row 4"), ("empty.jsonl", "", "is empty"),
        ("no JSON.jsonl", "bir", "neither JSON lines"),
    ):  # fmt: skip
        yield FileCase(f"metadata: {name}", described(name, content), refused)
    out = described("a.csv", metadata.replace("clip3", "../clip3"))
    yield FileCase("metadata: out of its folder", out, texts=three, reasons=("leaves",))
    libri = partial(beside_all, content="clip0 bir\nclip1 iki\nclip2 üç\nclip9 dörd\n".encode())
    yield FileCase("transcripts: of no recording", libri, texts=three, reasons=("cannot open",))
    libri = partial(beside_all, content="clip0 bir\nclip1 iki\nclip2 üç\nclip3 ".encode() + b"d\xf6rd\n")
    yield FileCase("transcripts: not UTF-8", libri, texts=three, reasons=("holds U.FFFD",))
    libri = partial(beside_all, content="clip0 bir\nclip1 iki\nclip2 üç\n../../clip3 dörd\n".encode())
    yield FileCase("transcripts: out of their folder", libri, texts=three, reasons=("leaves",))
    yield FileCase("voices: no column", partial(common_voice, content="file\tsentence\tclient_id\n"), "path")
    voices = "path\tsentence\tclient_id\n" + "".join(f"{name}\t{word}\tann\n" for name, word in rows())
    out_of = voices.replace("clip3", "../../clip3")
    yield FileCase(
        "voices: out of their folder", partial(common_voice, content=out_of), texts=three, reasons=("leaves",)
    )
    yield FileCase("voices: cut", partial(common_voice, content=voices[:-10]), texts=three, reasons=("fields where",))
    yield FileCase("nothing there", lambda folder: folder / "absent.csv", "neither a file nor a folder")
    yield FileCase("unknown suffix", table("corpus.xyz", b"PK\3\4"), "is none of")
    yield FileCase("a spreadsheet", table("corpus.xlsx", b"PK\3\4"), "is a spreadsheet: save it as CSV")
    yield FileCase("no suffix", table("corpus", csv_text()), "is none of")


def described(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return table(f"metadata{Path(name).suffix}", content)(folder).parent

    return make


def beside_all(folder: Path, content: bytes) -> Path:
    clips(folder)
    (folder / "1.trans.txt").write_bytes(content)
    return folder


def common_voice(folder: Path, content: str) -> Path:
    clips(folder / "clips")
    (folder / "train.tsv").write_text(content, encoding="utf-8")
    return folder


# Archives


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def tarred(members: dict[str, bytes], *entries: tarfile.TarInfo, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
        for entry in entries:
            packed.addfile(entry, io.BytesIO(bytes(entry.size)))
    return file.getvalue()


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def archive_cases() -> Iterator[FileCase]:
    members = {f"corpus/{name}": whole("wav") for name, _ in rows()}
    members["corpus/metadata.csv"] = csv_text().replace("audio", "file_name").encode()
    for name in (
        "../evil.wav",
        "corpus/../../evil.wav",
        "/evil.wav",
        "..\\evil.wav",
        "corpus\\evil.wav",
        "/etc/../../evil.wav",
    ):
        content = zipped(members | {name: b"x"})
        yield FileCase(f"zip: member {name}", one_parquet(content, "a.zip"), "outside|leaves")
    for name in ("../evil.wav", "corpus/../../evil.wav"):
        content = tarred(members | {name: b"x"})
        yield FileCase(f"tar: member {name}", one_parquet(content, "a.tar"), "refused")
    for name, kind, link in (
        ("link out", tarfile.SYMTYPE, "../../../etc"), ("absolute link", tarfile.SYMTYPE, "/etc/passwd"),
        ("hard link out", tarfile.LNKTYPE, "../../etc/passwd"), ("device", tarfile.CHRTYPE, ""),
        ("block device", tarfile.BLKTYPE, ""), ("pipe", tarfile.FIFOTYPE, ""),
    ):  # fmt: skip
        content = tarred(members, entry("corpus/x", kind, link))
        yield FileCase(f"tar: {name}", one_parquet(content, "a.tar"), "refused|cannot be unpacked")
    through = tarred(
        members, entry("corpus/out", tarfile.SYMTYPE, ".."), entry("corpus/out/../../evil", tarfile.REGTYPE)
    )
    yield FileCase("tar: through a link", one_parquet(through, "a.tar"), "refused")
    good_zip, good_tar = zipped(members), tarred(members)
    random = bytes(range(256)) * 200
    for name, content in (
        ("cut.zip", good_zip[: len(good_zip) // 2]), ("cut.tar", good_tar[: len(good_tar) // 2]), ("text.zip", b"bir"),
        ("empty.zip", b""), ("text.tar", b"bir" * 500), ("empty.tar", b""), ("noise.tar.gz", random),
        ("noise.tar.bz2", random),
        ("noise.tar.xz", random), ("cut.tar.gz", tarred(members, mode="w:gz")[:2000]),
        ("cut.tar.bz2", tarred(members, mode="w:bz2")[:2000]), ("cut.tar.xz", tarred(members, mode="w:xz")[:2000]),
        ("flipped.tar.gz", flipped(tarred(members, mode="w:gz"), 1500, 3)),
        ("flipped.tar.xz", flipped(tarred(members, mode="w:xz"), 1500, 3)), ("flipped.zip", flipped(good_zip, 3000, 3)),
    ):  # fmt: skip
        yield FileCase(f"archive: {name}", one_parquet(content, name), "cannot be unpacked")
    encrypted = bytearray(good_zip)
    for place in (good_zip.index(b"PK\3\4") + 6, good_zip.index(b"PK\1\2") + 8):
        encrypted[place] |= 1
    yield FileCase("archive: encrypted.zip", one_parquet(bytes(encrypted), "a.zip"), "cannot be unpacked")
    no_members = zipped({})
    yield FileCase("archive: no members.zip", one_parquet(no_members, "a.zip"), "is empty|folder with files")
    huge = flipped_size(zipped({"corpus/a.wav": bytes(1000)}))
    yield FileCase("zip: a member that says 4 GB", one_parquet(huge, "a.zip"), "would unpack to")
    large = entry("corpus/large.wav", tarfile.REGTYPE)
    large.size = 2 * 2**30
    yield FileCase(
        "tar: a member that says 2 GB", one_parquet(large.tobuf() + bytes(10_240), "a.tar"), "would unpack to"
    )
    cut = tarred(members)
    last = cut.rindex(b"corpus/metadata.csv")
    yield FileCase("tar: cut between members", one_parquet(cut[:last], "a.tar"), "cannot be unpacked")
    yield FileCase(
        "tar: a member's header flipped", one_parquet(flipped(cut, last + 3, 2), "a.tar"), "cannot be unpacked"
    )
    out = members | {"corpus/metadata.csv": members["corpus/metadata.csv"].replace(b"clip3", b"../../clip3")}
    for name, content in (("a.zip", zipped(out)), ("a.tar", tarred(out))):
        yield FileCase(
            f"{name}: metadata out of it", one_parquet(content, name), texts=tuple(WORDS[:3]), reasons=("leaves",)
        )
    absolute = tarred({f"/{name}": content for name, content in members.items()})
    yield FileCase("tar: absolute names", one_parquet(absolute, "a.tar"), texts=tuple(WORDS))
    link = zipfile.ZipInfo("corpus/clip3.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in members.items():
            packed.writestr(
                link if name == link.filename else name, b"/etc/hostname" if name == link.filename else content
            )
    yield FileCase("zip: a link", one_parquet(file.getvalue(), "a.zip"), texts=tuple(WORDS[:3]), reasons=("not audio",))


def flipped_size(content: bytes) -> bytes:
    """A ZIP archive whose directory says that its only member has 4 GB."""
    place = content.index(b"PK\1\2") + 24
    return content[:place] + b"\xf0\xff\xff\xff" + content[place + 4 :]


def file_cases() -> list[FileCase]:
    makers = (separated_cases, json_cases, parquet_cases, kaldi_cases, folder_cases, archive_cases)
    cases = [case for make in makers for case in make()]
    assert len({case.name for case in cases}) == len(cases)
    return cases
