"""Find the attention heads that time words best: python launch/align.py --checkpoint runs/my_language/best

Short clips of the config's data are joined with pauses, so that the times of what is said are known. The heads are
written into the checkpoint's generation_config.json, which launch/transcribe.py --words and transformers read.
"""

from trainer.command_line import CommandLine, number, run_command


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="a folder, plain Whisper, dual-attention or an adapter")
    add("--config", help="with a data section; default: that of the checkpoint's run")
    add("--split", choices=("train", "validation", "test"), default="validation", help="whose clips are joined")
    add("--recordings", type=number(int, 8, 10_000), default=100, metavar="N", help="joined ones, at most (100)")
    add("--dry-run", action="store_true", help="measure, and write nothing")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("overrides", nargs="*", metavar="key.path=value", help="values in place of those in the config")
    options = parser.parse_intermixed_args(arguments)
    from trainer.config.reading import load_config
    from trainer.evaluation.checkpoint import open_split, run_config_of
    from trainer.transcription.hearing import Listener
    from trainer.transcription.word_times.aligning_command import align, check_place

    check_place(options.checkpoint, not options.dry_run)
    config = load_config(options.config or run_config_of(options.checkpoint), options.overrides)
    source = open_split(config, options.split)
    language = config.data.language
    listener = Listener(options.checkpoint, language, device=options.device, words=True)
    found = align(listener, options.checkpoint, source, options.recordings, not options.dry_run)
    print(f"{found.before.boundaries} starts and ends in recordings that chose nothing, of {found.recordings}:")
    print(f"heads that were there: {found.before}")
    if not found.is_better:
        print("no others are better, so they stay")
        return
    print(f"heads found:           {found.after}")
    print("  ".join(f"{layer}.{head}" for layer, head in sorted(found.heads)))


if __name__ == "__main__":
    run_command(main)
