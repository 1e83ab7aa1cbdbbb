"""The same few clips in every shape in which corpora come."""

import csv
import gzip
import html
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

TEXTS = ["one", 'two, "quoted"', "üç", "four | five", "six", "seven"]
SPEAKERS = ["ann", "bob", "ann", "eve", "bob", "eve"]


def samples(number: int) -> np.ndarray:
    """0.5 s and a bit of a tone that tells the number."""
    time = np.arange(8000 + 160 * number) / 16_000
    return (0.3 * np.sin(2 * np.pi * 100 * (number + 1) * time)).astype(np.float32)


def encoded(number: int, suffix: str = ".flac") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples(number), 16_000, format=suffix[1:].upper(), subtype=None)
    return file.getvalue()


def write_audio(folder: Path, suffix: str = ".flac") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"clip{i}{suffix}" for i in range(len(TEXTS))]
    for number, name in enumerate(names):
        (folder / name).write_bytes(encoded(number, suffix))
    return names


def rows(names: list[str], audio: str = "audio_filepath") -> list[dict[str, Any]]:
    """A row for each clip, as NeMo has them."""
    return [
        {audio: name, "text": TEXTS[i], "speaker": SPEAKERS[i], "duration": len(samples(i)) / 16_000}
        for i, name in enumerate(names)
    ]


def json_lines(folder: Path) -> Path:
    names = write_audio(folder / "audio")
    lines = (json.dumps(row, ensure_ascii=False) for row in rows([f"audio/{name}" for name in names]))
    (folder / "manifest.json").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.json"


def json_list(folder: Path) -> Path:
    names = write_audio(folder)
    (folder / "all.json").write_text(json.dumps(rows(names, "path"), indent=1), encoding="utf-8")
    return folder / "all.json"


def comma_separated(folder: Path) -> Path:
    names = write_audio(folder)
    with (folder / "all.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["file_name", "text", "speaker", "duration"])
        writer.writeheader()
        writer.writerows(rows(names, "file_name"))
    return folder / "all.csv"


def tab_separated(folder: Path) -> Path:
    names = write_audio(folder)
    lines = ["path\tsentence\tclient_id"]
    lines += [f"{name}\t{text}\t{who}" for name, text, who in zip(names, TEXTS, SPEAKERS, strict=True)]
    (folder / "all.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "all.tsv"


def parquet(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "audio": [{"bytes": encoded(i), "path": f"clip{i}.flac"} for i in range(len(TEXTS))],
            "text": TEXTS,
            "speaker": SPEAKERS,
            "id": [f"clip{i}" for i in range(len(TEXTS))],
        }
    )
    pq.write_table(table.slice(0, 4), folder / "a.parquet", row_group_size=2)
    pq.write_table(table.slice(4), folder / "b.parquet")
    return folder


def arrow(folder: Path) -> Path:
    parquet(folder / "parquet")
    table = pq.read_table(folder / "parquet")
    with pa.ipc.new_stream(str(folder / "all.arrow"), table.schema) as writer:
        writer.write_table(table)
    return folder / "all.arrow"


def kaldi(folder: Path) -> Path:
    names = write_audio(folder / "wav", ".wav")
    (folder / "wav.scp").write_text("".join(f"clip{i} {folder}/wav/{name}\n" for i, name in enumerate(names)))
    (folder / "text").write_text("".join(f"clip{i} {text}\n" for i, text in enumerate(TEXTS)), encoding="utf-8")
    (folder / "utt2spk").write_text("".join(f"clip{i} {who}\n" for i, who in enumerate(SPEAKERS)))
    return folder


def write_joined(folder: Path, name: str) -> list[float]:
    """A recording of all clips; seconds at which they begin, and at which the last one ends."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, np.concatenate([samples(i) for i in range(len(TEXTS))]), 16_000)
    return list(np.cumsum([0] + [len(samples(i)) for i in range(len(TEXTS))]) / 16_000)


def kaldi_segments(folder: Path) -> Path:
    """One recording of all clips, and where each is."""
    bounds = write_joined(folder, "long.wav")
    (folder / "wav.scp").write_text(f"rec flac -c -d -s {folder}/long.wav |\n")
    (folder / "segments").write_text(
        "".join(f"clip{i} rec {bounds[i]:.6f} {bounds[i + 1]:.6f}\n" for i in range(len(TEXTS)))
    )
    (folder / "text").write_text("".join(f"clip{i} {text}\n" for i, text in enumerate(TEXTS)), encoding="utf-8")
    (folder / "utt2spk").write_text("".join(f"clip{i} {who}\n" for i, who in enumerate(SPEAKERS)))
    return folder


def add_entry(archive: Path, name: str, content: bytes) -> str:
    """Put a recording into a Kaldi archive; gives its line of wav.scp."""
    before = archive.read_bytes() if archive.exists() else b""
    archive.write_bytes(before + f"{name} ".encode() + content)
    return f"{name} {archive}:{len(before) + len(name) + 1}\n"


def kaldi_archive(folder: Path) -> Path:
    """Half of the clips as Kaldi's wav-copy writes them, half as ESPnet does."""
    folder.mkdir(exist_ok=True)
    lines = [add_entry(folder / "wav.ark", f"clip{i}", encoded(i, ".wav")) for i in range(3)]
    for i in range(3, 6):
        flac = encoded(i)
        lines.append(add_entry(folder / "wav.ark", f"clip{i}", b"AUDIO\3" + len(flac).to_bytes(3, "little") + flac))
    (folder / "wav.scp").write_text("".join(lines))
    (folder / "text").write_text("".join(f"clip{i} {text}\n" for i, text in enumerate(TEXTS)), encoding="utf-8")
    (folder / "utt2spk").write_text("".join(f"clip{i} {who}\n" for i, who in enumerate(SPEAKERS)))
    return folder


def subtitles(folder: Path) -> Path:
    """One recording of all clips, and subtitles in WebVTT, whose voices are the speakers."""
    bounds = write_joined(folder, "long.wav")
    marks = [f"00:{bound:06.3f}" for bound in bounds]
    cues = [
        f"{marks[i]} --> {marks[i + 1]}\n<v {SPEAKERS[i]}>{html.escape(text, quote=False)}</v>\n"
        for i, text in enumerate(TEXTS)
    ]
    (folder / "long.vtt").write_text("\n".join(["WEBVTT\n", *cues]), encoding="utf-8")
    return folder


def audacity_labels(folder: Path) -> Path:
    """One recording of all clips, and labels as Audacity exports them where commas are decimal."""
    bounds = write_joined(folder, "long.wav")
    times = [f"{bound:.6f}".replace(".", ",") for bound in bounds]
    lines = [f"{times[i]}\t{times[i + 1]}\t{text}\n" for i, text in enumerate(TEXTS)]
    (folder / "long.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def common_voice(folder: Path) -> Path:
    names = write_audio(folder / "clips", ".mp3")
    for table, numbers in (("train", range(4)), ("dev", (4,)), ("test", (5,))):
        lines = ["client_id\tpath\tsentence\tlocale"]
        lines += [f"{SPEAKERS[i]}\t{names[i]}\t{TEXTS[i]}\taz" for i in numbers]
        (folder / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "validated.tsv").write_text("client_id\tpath\tsentence\tlocale\n")
    return folder


def audio_folder(folder: Path) -> Path:
    names = write_audio(folder / "train")
    with (folder / "train" / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for row in rows(names, "file_name"):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return folder


def transcripts_beside(folder: Path) -> Path:
    for number, name in enumerate(write_audio(folder / "sub")):
        (folder / "sub" / name).with_suffix(".txt").write_text(TEXTS[number] + "\n", encoding="utf-8")
    return folder


def libri_speech(folder: Path) -> Path:
    write_audio(folder / "12" / "34")
    lines = "".join(f"clip{i} {text}\n" for i, text in enumerate(TEXTS))
    (folder / "12" / "34" / "12-34.trans.txt").write_text(lines, encoding="utf-8")
    return folder


def lj_speech(folder: Path) -> Path:
    """Pipes, no header; the last column has numbers written out."""
    write_audio(folder / "wavs", ".wav")
    texts = [text.replace("|", "/") for text in TEXTS]
    lines = [f"clip{i}|{text.upper()}|{text}\n" for i, text in enumerate(texts)]
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


def excel(folder: Path) -> Path:
    """What Excel calls CSV where people write decimal commas."""
    names = write_audio(folder)
    with (folder / "all.csv").open("w", encoding="utf-16", newline="") as file:
        file.write("sep=;\r\n")
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["File Name", "Text", "Speaker", "Duration", ""])
        for row in rows(names, "name"):
            writer.writerow([row["name"], row["text"], row["speaker"], str(row["duration"]).replace(".", ","), ""])
        file.write(";;;;\r\n")
    return folder / "all.csv"


def excel_text(folder: Path) -> Path:
    """What Excel calls Unicode text."""
    comma_separated(folder)
    with (folder / "all.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    with (folder / "all.txt").open("w", encoding="utf-16", newline="") as file:
        csv.writer(file, csv.excel_tab).writerows(lines)
    return folder / "all.txt"


def fleurs(folder: Path, packed: bool = False) -> Path:
    """Tables without header; recordings in a folder for each split, or in an archive for each."""
    for table, split, numbers in (("train", "train", range(4)), ("dev", "dev", (4,)), ("test", "test", (5,))):
        place = folder / "audio" / split
        place.mkdir(parents=True)
        lines = []
        for number in numbers:
            (place / f"9{number}.wav").write_bytes(encoded(number, ".wav"))
            text = TEXTS[number]
            words = " ".join(text).replace("   ", " | ")
            lines.append(f"7\t9{number}.wav\t{text.title()}.\t{text}\t{words}\t{len(samples(number))}\tFEMALE\n")
        (folder / f"{table}.tsv").write_text("".join(lines), encoding="utf-8")
        if packed:
            with tarfile.open(folder / "audio" / f"{split}.tar.gz", "w:gz") as tar:
                tar.add(place, split)
            shutil.rmtree(place)
    return folder


def fleurs_packed(folder: Path) -> Path:
    return fleurs(folder, packed=True)


def vox_populi(folder: Path) -> Path:
    """Ids instead of paths; recordings in archives, with quotes that are text."""
    columns = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\tis_gold_transcript\taccent\n"
    for table, split, numbers in (("train", "train", range(4)), ("dev", "dev", (4,)), ("test", "test", (5,))):
        place = folder / split / f"{split}_part_0"
        place.mkdir(parents=True)
        lines = [columns]
        for number in numbers:
            name = f"2009-PLENARY-en_21:09:53_{number}"
            (place / f"{name}.wav").write_bytes(encoded(number, ".wav"))
            lines.append(f"{name}\t\t{TEXTS[number]}\t{SPEAKERS[number]}\t{split}\tfemale\tTrue\tNone\n")
        (folder / f"asr_{table}.tsv").write_text("".join(lines), encoding="utf-8")
        with tarfile.open(place.with_suffix(".tar.gz"), "w:gz") as tar:
            tar.add(place, place.name)
        shutil.rmtree(place)
    return folder


def archive(folder: Path) -> Path:
    inside = audio_folder(folder / "corpus")
    with tarfile.open(folder / "corpus.tar.gz", "w:gz") as packed:
        packed.add(inside, "corpus")
    return folder / "corpus.tar.gz"


def zipped(folder: Path) -> Path:
    inside = json_lines(folder / "corpus")
    with zipfile.ZipFile(folder / "corpus.zip", "w") as packed:
        for file in sorted(inside.parent.rglob("*.*")):
            if file.name != "manifest.json":
                packed.write(file, file.relative_to(inside.parent))
        for line in inside.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            packed.writestr(str(Path(row["audio_filepath"]).with_suffix(".txt")), row["text"])
    return folder / "corpus.zip"


def add_member(packed: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    packed.addfile(entry, io.BytesIO(content))


def write_shard(file: Path, numbers: Iterable[int], mode: Literal["w", "w:gz"] = "w") -> Path:
    """A tar file with a recording, its row and a member that nobody reads for each clip."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as packed:
        for i in numbers:
            row = {"text": TEXTS[i], "speaker": SPEAKERS[i], "start": 3.5, "end": 4.0 + i}
            add_member(packed, f"clip{i}.flac", encoded(i))
            add_member(packed, f"clip{i}.json", json.dumps(row).encode())
            add_member(packed, f"clip{i}.npy", b"\0" * 700)
    return file


def web_dataset(folder: Path) -> Path:
    write_shard(folder / "speech-000000.tar", range(5))
    write_shard(folder / "speech-000001.tar", range(5, 6))
    return folder


def web_dataset_compressed(folder: Path) -> Path:
    write_shard(folder / "speech-0.tar.gz", range(4), "w:gz")
    write_shard(folder / "speech-1.tgz", range(4, 6), "w:gz")
    return folder


def write_manifest(file: Path, items: Iterable[dict[str, Any]]) -> Path:
    lines = "".join(json.dumps(item) + "\n" for item in items).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(lines) if file.suffix == ".gz" else lines)
    return file


def lhotse_recording(name: str, path: Path | str, seconds: float, **changed: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": str(path)}
    rate = {"sampling_rate": 16_000, "num_samples": round(16_000 * seconds), "duration": seconds}
    return {"id": name, "sources": [source], **rate, "channel_ids": [0]} | changed


def lhotse_supervision(number: int, recording: str, start: float = 0.0, **changed: Any) -> dict[str, Any]:
    said = {"id": f"clip{number}", "recording_id": recording, "start": start, "channel": 0}
    words = {"duration": len(samples(number)) / 16_000, "text": TEXTS[number], "speaker": SPEAKERS[number]}
    return said | words | changed


def lhotse_cut(name: str, recording: dict[str, Any], said: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    where = {"id": name, "start": 0, "duration": recording["duration"], "channel": 0}
    return where | {"supervisions": said, "recording": recording, "type": "MonoCut"} | changed


def lhotse(folder: Path) -> Path:
    """Recordings, whose paths are relative to the folder above, and supervisions."""
    names = write_audio(folder / "audio")
    recordings = [lhotse_recording(f"r{i}", f"audio/{name}", len(samples(i)) / 16_000) for i, name in enumerate(names)]
    write_manifest(folder / "manifests" / "digits_recordings_all.jsonl.gz", recordings)
    said = [lhotse_supervision(i, f"r{i}") for i in range(len(names))]
    write_manifest(folder / "manifests" / "digits_supervisions_all.jsonl.gz", said)
    return folder / "manifests"


def lhotse_cuts(folder: Path) -> Path:
    """A recording of all clips in two cuts: of the first three, and of the others."""
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / "long.wav", np.concatenate([samples(i) for i in range(len(TEXTS))]), 16_000)
    bounds = (np.cumsum([0] + [len(samples(i)) for i in range(len(TEXTS))]) / 16_000).tolist()
    recording = lhotse_recording("long", folder / "long.wav", bounds[-1])
    cuts = []
    for first, last in ((0, 3), (3, 6)):
        said = [lhotse_supervision(i, "long", bounds[i] - bounds[first]) for i in range(first, last)]
        times = {"start": bounds[first], "duration": bounds[last] - bounds[first]}
        cuts.append(lhotse_cut(f"cut{first}", recording, said, **times))
    return write_manifest(folder / "cuts.jsonl.gz", cuts)


def lhotse_shar(folder: Path) -> Path:
    """Cuts whose recordings lie in a tar file beside them."""
    for shard, numbers in enumerate((range(4), range(4, 6))):
        cuts = []
        folder.mkdir(exist_ok=True)
        with tarfile.open(folder / f"recording.{shard:06d}.tar", "w") as packed:
            for i in numbers:
                source = [{"type": "shar", "channels": [0], "source": ""}]
                recording = lhotse_recording(f"r{i}", "", len(samples(i)) / 16_000, sources=source)
                cuts.append(lhotse_cut(f"cut{i}", recording, [lhotse_supervision(i, f"r{i}")]))
                add_member(packed, f"cut{i}.flac", encoded(i))
                add_member(packed, f"cut{i}.json", json.dumps(recording).encode())
        write_manifest(folder / f"cuts.{shard:06d}.jsonl.gz", cuts)
    return folder


SHAPES: dict[str, Callable[[Path], Path]] = {
    shape.__name__: shape
    for shape in (
        json_lines, json_list, comma_separated, tab_separated, parquet, arrow, kaldi, kaldi_segments, common_voice,
        audio_folder, transcripts_beside, libri_speech, archive, zipped, web_dataset, web_dataset_compressed,
        kaldi_archive, lhotse, lhotse_cuts, lhotse_shar, subtitles, audacity_labels,
        lj_speech, excel, excel_text, fleurs, fleurs_packed, vox_populi,
    )
}  # fmt: skip
WITHOUT_SPEAKERS = {
    "transcripts_beside", "libri_speech", "zipped", "audacity_labels", "lj_speech", "fleurs", "fleurs_packed"
}  # fmt: skip
WITH_SPLITS = {"common_voice", "fleurs", "fleurs_packed", "vox_populi"}
