"""Make a plain Hugging Face folder of a run: python launch/export.py --checkpoint runs/medium/best --output exported"""

from pathlib import Path

from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        type=Path,
        help="a run's best, final or checkpoints/step_... folder, of any engine; or the folder of a LoRA adapter",
    )
    parser.add_argument("--output", required=True, type=Path, help="a folder that is empty or does not exist yet")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), default="fp32", help="of weights (fp32)")
    parser.add_argument("--max-shard-size", default="5GB", help="largest size of a weight file; default: 5GB")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="also upload the folder; needs HF_TOKEN")
    parser.add_argument("--private", action="store_true", help="make the uploaded repository private")
    parser.add_argument("--as-whisper", action="store_true", help="plain Whisper; only without second attentions")
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
