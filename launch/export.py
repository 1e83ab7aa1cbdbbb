"""Export: python launch/export.py --checkpoint runs/medium/checkpoints/step_00002000 --output exported --dtype bf16"""

from pathlib import Path

from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        type=Path,
        help="a run's best, final or checkpoints/step_... folder, whatever its engine; or a LoRA adapter's folder",
    )
    parser.add_argument("--output", required=True, type=Path, help="a folder that is empty or not there yet")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), default="fp32", help="default: fp32")
    parser.add_argument("--max-shard-size", default="5GB", help="largest size of a weight file; default: 5GB")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="then send the folder, with HF_TOKEN")
    parser.add_argument("--private", action="store_true", help="the repository is made private")
    parser.add_argument("--as-whisper", action="store_true", help="as plain Whisper, if it has no second attentions")
    options = parser.parse_args(arguments)
    from trainer.export.exporting import ExportOptions, export

    export(
        ExportOptions(
            options.checkpoint,
            options.output,
            dtype=options.dtype,
            max_shard_size=options.max_shard_size,
            repository=options.push_to_hub,
            private=options.private,
            as_whisper=options.as_whisper,
        )
    )


if __name__ == "__main__":
    run_command(main)
