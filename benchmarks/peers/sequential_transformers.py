"""Long recordings by transformers' own sequential decoding, several at once, written as by launch/transcribe.py.

    python -m benchmarks.peers.sequential_transformers --checkpoint openai/whisper-base --language en \
        --output FOLDER FILE ...

``generate`` gets the features of whole recordings and moves its windows of 30 s by the last timestamp. It decodes
greedily at temperature 0, without the text before. Recordings of similar length are decoded together. The last line on
standard error is the speed, without the time in which the checkpoint is opened.
"""

import sys
import time
from typing import Any

import torch

from data.audio.decoding import decode_audio
from data.utterance import SAMPLING_RATE
from trainer.command_line import CommandLine, number, run_command
from trainer.transcription.recordings import TranscriptFolder, find_recordings
from trainer.transcription.transcriber import similar_lengths
from trainer.transcription.transcripts import Segment, Transcript


def transcribe(model: Any, processor: Any, audio: list[Any], language: str) -> list[list[Segment]]:
    """The segments of recordings that are decoded together, float32 [samples] each, 16 kHz."""
    inputs = processor(
        audio,
        sampling_rate=SAMPLING_RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
        return_attention_mask=True,
    )
    with torch.inference_mode():
        found = model.generate(
            **inputs,
            language=language,
            task="transcribe",
            return_timestamps=True,
            return_segments=True,
            condition_on_prev_tokens=False,
            temperature=0.0,
            num_beams=1,
        )
    return [
        [
            Segment(round(float(one["start"]), 3), round(float(one["end"]), 3), text)
            for one in row
            if (text := " ".join(processor.tokenizer.decode(one["tokens"], skip_special_tokens=True).split()))
        ]
        for row in found["segments"]
    ]


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--checkpoint", required=True, help="plain Whisper, a folder or hub name")
    parser.add_argument("--language", required=True, help="code")
    parser.add_argument("--batch-size", type=number(int, 1, 4096), default=8, help="recordings decoded together (8)")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="a JSON file for each recording goes there")
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args(arguments)
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    recordings = find_recordings(options.files)
    output = TranscriptFolder(options.output, "json", False, recordings)
    processor = WhisperProcessor.from_pretrained(options.checkpoint)
    model = WhisperForConditionalGeneration.from_pretrained(options.checkpoint).eval()
    started = time.perf_counter()
    audio = [decode_audio(str(recording.path)) for recording in recordings]
    for rows in similar_lengths([len(one) for one in audio], options.batch_size):
        found = transcribe(model, processor, [audio[row] for row in rows], options.language)
        for row, segments in zip(rows, found, strict=True):
            text = " ".join(segment.text for segment in segments)
            seconds = len(audio[row]) / SAMPLING_RATE
            transcript = Transcript(
                file=recordings[row].name,
                language=options.language,
                language_detected=False,
                duration=seconds,
                text=text,
                segments=tuple(segments),
            )
            output.write(row, transcript)
    took = time.perf_counter() - started
    seconds = sum(map(len, audio)) / SAMPLING_RATE
    print(f"{seconds:.1f} s of audio in {took:.1f} s, real-time factor {took / seconds:.3f}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
