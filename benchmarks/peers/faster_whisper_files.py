"""Long recordings by faster-whisper, written as launch/transcribe.py writes them; run by the Python of its environment.

    python -m benchmarks.peers.faster_whisper_environment --folder ENVIRONMENT --checkpoint openai/whisper-base
    ENVIRONMENT/bin/python benchmarks/peers/faster_whisper_files.py \
        --checkpoint ENVIRONMENT/converted/openai_whisper-base --language en --compute-type int8 --output FOLDER FILE...

It needs nothing of this project, so that faster-whisper's requirements and this project's never meet. Greedy, with its
voice activity detection, by its batched pipeline, or one window after the other with ``--batch-size 0``. The last line
on standard error is the speed, without the time in which the model is opened.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a folder that was converted")
    parser.add_argument("--language", required=True, help="code")
    parser.add_argument("--compute-type", default="int8", choices=("int8", "float32"))
    parser.add_argument("--batch-size", type=int, default=8, help="pieces decoded together; 0: sequential (8)")
    parser.add_argument("--words", action="store_true", help="also times of words")
    parser.add_argument("--output", required=True, type=Path, help="a JSON file for each recording goes there")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    model = WhisperModel(options.checkpoint, device="cpu", compute_type=options.compute_type, cpu_threads=threads)
    asked = {"language": options.language, "beam_size": 1, "vad_filter": True, "word_timestamps": options.words}
    if options.batch_size:
        transcribe = BatchedInferencePipeline(model).transcribe
        asked |= {"batch_size": options.batch_size, "without_timestamps": False}
    else:
        transcribe = model.transcribe
        asked |= {"condition_on_previous_text": False}
    options.output.mkdir(parents=True, exist_ok=True)
    started, seconds = time.perf_counter(), 0.0
    for number, file in enumerate(options.files):
        found, about = transcribe(file, **asked)
        segments = []
        for one in found:
            segment = {"start": one.start, "end": one.end, "text": one.text.strip()}
            if options.words:
                segment["words"] = [{"word": word.word, "start": word.start, "end": word.end} for word in one.words]
            segments.append(segment)
        seconds += about.duration
        transcript = {"file": file, "language": about.language, "duration": about.duration, "segments": segments}
        path = options.output / f"{number:05d}.json"
        path.write_text(json.dumps(transcript, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    took = time.perf_counter() - started
    print(f"{seconds:.1f} s of audio in {took:.1f} s, real-time factor {took / seconds:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
