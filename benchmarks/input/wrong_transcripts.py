"""How many wrong transcripts the scores of ``launch/prepare.py --score`` find, and how many right ones they suspect.

    python -m benchmarks.input.wrong_transcripts --checkpoint openai/whisper-base --data 'speech/*.parquet' \
        --output results.json

The Parquet files have the columns audio, text and speaker, and transcripts that are right. Each clip is scored with its
own transcript, with that of another clip, and with the first and the last half of its own. A limit is chosen on half of
the speakers and applied to the others, twenty times with other halves. It suspects one right transcript in a hundred,
or fewer where it can lie lower: halfway to what all but one in a hundred of the transcripts of other clips stay below.
The limits that are advised for ``--min-evidence`` and ``--min-edge-evidence`` are applied to all. Intervals are of a
bootstrap over speakers; where all clips or none are suspected, they are exact ones of independent clips.
"""

import glob
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.written import add_output, table_head, write_result
from trainer.command_line import CommandLine, number, run_command

KINDS = ("own", "of another clip", "first half", "last half")
FALSE_ALARMS = 0.01
HALVINGS = 20
RESAMPLES = 2000
SHUFFLED = 0.05
Clip = dict[str, Any]
Measure = Callable[[Mapping[str, Any]], float]  # low where the transcript seems wrong

MEASURES: dict[str, Measure] = {
    "evidence": lambda score: score["evidence"],
    "evidence at the edges": lambda score: score["edge_evidence"],
    "log-probability of the transcript": lambda score: score["text_log_probability"],
    "the same less that of the hypothesis": lambda score: score["text_log_probability"] - score["heard"],
    "word error rate": lambda score: -score["word_error_rate"],
    "character error rate": lambda score: -score["character_error_rate"],
}


def read_clips(pattern: str, count: int | None, seed: int, speakers: str | None) -> list[Clip]:
    """Rows with a transcript in the other kinds too, shuffled; ``speakers``: those whose digest is even, or odd."""
    import hashlib

    import pyarrow.parquet

    rows: list[Clip] = []
    for file in sorted(glob.glob(pattern)):
        rows += pyarrow.parquet.read_table(file, columns=["audio", "text", "speaker"]).to_pylist()
    for row in rows:
        row["odd"] = hashlib.blake2b(str(row["speaker"]).encode(), digest_size=1).digest()[0] % 2 == 1
    chance = random.Random(seed)
    chance.shuffle(rows)
    rows = [row for row in rows if speakers is None or row["odd"] == (speakers == "odd")][:count]
    for row in rows:
        others = [other["text"] for other in rows if other["text"].lower() != row["text"].lower()]
        words = row["text"].split()
        half = max(1, len(words) // 2)
        texts = (row["text"], chance.choice(others), " ".join(words[:half]), " ".join(words[half:] or words))
        row["texts"] = dict(zip(KINDS, texts, strict=True))
    return rows


def score_clips(checkpoint: str, clips: Sequence[Clip], batch: int, device: str, language: str) -> None:
    """Add ``scores`` to each clip, by kind of transcript. The encoder and the hypothesis are the same for all kinds."""
    from data.audio.decoding import decode_audio
    from data.preparation.scores import Sounding
    from trainer.transcription.scoring.opened import OpenScorer, fit

    scorer = OpenScorer(checkpoint, batch, device)
    for begin in range(0, len(clips), batch):
        some = clips[begin : begin + batch]
        heard = [Sounding(decode_audio(clip["audio"]), None, language) for clip in some]
        encoded, silence = scorer.encode([one.audio for one in heard]), scorer.silence(heard)
        hypotheses = scorer.score(heard)
        for kind in KINDS:
            rows = [scorer.labels.encode(clip["texts"][kind], language) for clip in some]
            with_audio, with_silence = (scorer.likelihoods(output, rows)[0] for output in (encoded, silence))
            for row, (clip, score) in enumerate(zip(some, hypotheses, strict=True)):
                assert score is not None
                words, characters = scorer.error_rates(clip["texts"][kind], score.hypothesis, language)
                clip.setdefault("scores", {})[kind] = fit(with_audio[row], with_silence[row])._asdict() | {
                    "heard": score.mean_log_probability,
                    "word_error_rate": words,
                    "character_error_rate": characters,
                    "no_speech_probability": score.no_speech_probability,
                }
        print(f"{begin + len(some)} of {len(clips)} clips", flush=True)


def crossed(clips: Sequence[Clip], measure: Measure) -> dict[str, float]:
    """Shares of each kind suspected, by a limit chosen on the other half of the speakers; mean over halvings."""
    names = sorted({clip["speaker"] for clip in clips})
    found: list[list[float]] = []
    for seed in range(HALVINGS):
        chosen = set(random.Random(seed).sample(names, len(names) // 2))
        own = sorted(measure(clip["scores"]["own"]) for clip in clips if clip["speaker"] in chosen)
        shuffled = sorted(measure(clip["scores"][KINDS[1]]) for clip in clips if clip["speaker"] in chosen)
        limit = own[int(FALSE_ALARMS * len(own))]
        limit = min(limit, (limit + shuffled[-1 - int(FALSE_ALARMS * len(own))]) / 2)
        others = [clip for clip in clips if clip["speaker"] not in chosen]
        found.append([sum(measure(clip["scores"][kind]) < limit for clip in others) / len(others) for kind in KINDS])
    return dict(zip(KINDS, np.mean(found, axis=0).tolist(), strict=True))


def at_limit(clips: Sequence[Clip], is_suspect: Callable[[Mapping[str, Any]], bool]) -> dict[str, list[float]]:
    """Share of each kind suspected, with the bounds of its 95 % interval over speakers."""
    names = sorted({clip["speaker"] for clip in clips})
    place = {name: number for number, name in enumerate(names)}
    totals = np.bincount([place[clip["speaker"]] for clip in clips], minlength=len(names))
    draws = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    found = {}
    for kind in KINDS:
        suspects = [float(is_suspect(clip["scores"][kind])) for clip in clips]
        sums = np.bincount([place[clip["speaker"]] for clip in clips], suspects, minlength=len(names))
        rates = sums[draws].sum(axis=1) / totals[draws].sum(axis=1)
        low, high = np.quantile(rates, (0.025, 0.975)).tolist()
        tail = 0.025 ** (1 / len(clips))  # what so many clips leave open where all of them, or none, are suspected
        share = float(np.mean(suspects))
        found[kind] = [share, tail if share == 1 else low, 1 - tail if share == 0 else high]
    return found


def shuffled_corpora(clips: Sequence[Clip], limit: float, seeds: int = 10) -> dict[str, list[float]]:
    """Of corpora with 5 % of their transcripts from other clips: shares of wrong ones found, and of right ones lost."""
    caught, lost = [], []
    for seed in range(seeds):
        wrong = set(random.Random(seed).sample(range(len(clips)), round(SHUFFLED * len(clips))))
        out = [
            clip["scores"]["of another clip" if row in wrong else "own"]["evidence"] < limit
            for row, clip in enumerate(clips)
        ]
        caught.append(sum(out[row] for row in wrong) / len(wrong))
        lost.append(sum(out[row] for row in range(len(clips)) if row not in wrong) / (len(clips) - len(wrong)))
    return {"found": caught, "lost": lost}


def table(result: Mapping[str, Any]) -> str:
    """Shares suspected, in per cent, as Markdown: by limits chosen on other speakers, and by those that are advised."""
    lines = [table_head(("", *KINDS))]
    for name, shares in result["crossed"].items():
        lines.append(f"| {name} | {' | '.join(f'{100 * shares[kind]:.1f}' for kind in KINDS)} |")
    for name, shares in result["limits"].items():
        told = ("{:.1f} [{:.1f}, {:.1f}]".format(*(100 * value for value in shares[kind])) for kind in KINDS)
        lines.append(f"| `{name}` | {' | '.join(told)} |")
    return "\n".join(lines)


def shuffled(result: Mapping[str, Any]) -> str:
    """What becomes of corpora with 5 % of their transcripts from other clips, in a sentence."""
    (found, least, _), (lost, _, most) = (
        (100 * np.mean(values), 100 * min(values), 100 * max(values)) for values in result["shuffled"].values()
    )
    return (
        f"In {len(result['shuffled']['found'])} corpora with 5 % shuffled transcripts it finds {found:.1f} % of them "
        f"(at least {least:.1f} %) and suspects {lost:.1f} % of the others (at most {most:.1f} %)."
    )


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True)
    add("--data", required=True, help="Parquet files, a glob")
    add("--language", default="en")
    add("--clips", type=number(int, 20, 10**6), help="so many, drawn at random; default: all")
    add("--speakers", choices=("even", "odd"), help="half of the speakers, by a digest of their names")
    add("--seed", type=int, default=0)
    add("--batch-size", type=number(int, 1, 4096), default=8)
    add("--device", default="auto")
    add_output(parser)
    options = parser.parse_args(arguments)
    from data.preparation.leaving_out.misfits import DOUBTFUL_EDGE, DOUBTFUL_EVIDENCE

    clips = read_clips(options.data, options.clips, options.seed, options.speakers)
    score_clips(options.checkpoint, clips, options.batch_size, options.device, options.language)
    speakers = len({clip["speaker"] for clip in clips})
    result = {
        "checkpoint": options.checkpoint.rstrip("/").rpartition("/")[2],
        "clips": len(clips),
        "speakers": speakers,
        "seed": options.seed,
        "crossed": {name: crossed(clips, measure) for name, measure in MEASURES.items()},
        "limits": {
            f"--min-evidence {DOUBTFUL_EVIDENCE:g}": at_limit(
                clips, lambda score: score["evidence"] < DOUBTFUL_EVIDENCE
            ),
            f"--min-edge-evidence {DOUBTFUL_EDGE:g}": at_limit(clips, lambda s: s["edge_evidence"] < DOUBTFUL_EDGE),
        },
        "shuffled": shuffled_corpora(clips, DOUBTFUL_EVIDENCE),
        "machine": describe_machine(),
    }
    print(f"{len(clips)} clips of {speakers} speakers; suspected, in %", table(result), shuffled(result), sep="\n\n")
    write_result(options.output, result)
    return 0


if __name__ == "__main__":
    run_command(main)
