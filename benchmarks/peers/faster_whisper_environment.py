"""Makes an environment of its own for faster-whisper, and converts a plain Whisper for it.

    python -m benchmarks.peers.faster_whisper_environment --folder .venv-faster-whisper --checkpoint openai/whisper-base

The environment has the versions of ``faster_whisper.txt`` and nothing of this project. CTranslate2's converter needs
torch and transformers, which are this project's: it is called here, with CTranslate2 from that environment.
"""

import subprocess
import sys
import venv
from pathlib import Path

from trainer.command_line import CommandLine, run_command
from trainer.errors import CommandFailed

REQUIREMENTS = Path(__file__).with_name("faster_whisper.txt")
INSTALLED = "installed.txt"  # in the environment: the requirements that it has


def python_of(folder: Path) -> Path:
    """The environment's Python."""
    return folder / "bin" / "python"


def make_environment(folder: Path) -> None:
    """Make the environment, unless it has the requirements. Raises CommandFailed if they cannot be installed."""
    wanted, installed = REQUIREMENTS.read_text(encoding="utf-8"), folder / INSTALLED
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return
    venv.EnvBuilder(with_pip=True).create(folder)
    pip = [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(
            f"pip could not install {REQUIREMENTS}: {(done.stderr.strip() or 'no reason').splitlines()[-1]}"
        )
    installed.write_text(wanted, encoding="utf-8")


def converted_folder(folder: Path, checkpoint: str) -> Path:
    """Where a checkpoint lies once it is converted: named by its last two parts."""
    return folder / "converted" / "_".join(Path(checkpoint).parts[-2:]).strip("/")


def convert(folder: Path, checkpoint: str) -> Path:
    """Convert a checkpoint in float32, unless that was done; returns its folder.

    CTranslate2 quantises it when it opens it.
    """
    output = converted_folder(folder, checkpoint)
    if (output / "preprocessor_config.json").exists():  # written last
        return output
    # Last on the path, so that this project's own versions come first.
    sys.path += [str(path) for path in (folder / "lib").glob("python*/site-packages")]
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoTokenizer, WhisperFeatureExtractor

    output.parent.mkdir(parents=True, exist_ok=True)
    TransformersConverter(checkpoint).convert(str(output), force=True)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(output)
    WhisperFeatureExtractor.from_pretrained(checkpoint).save_pretrained(output)
    return output


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    parser.add_argument("--folder", required=True, type=Path, help="where the environment is, or is made")
    parser.add_argument("--checkpoint", help="plain Whisper that is converted, a folder or hub name")
    options = parser.parse_args(arguments)
    make_environment(options.folder)
    if options.checkpoint is not None:
        print(convert(options.folder, options.checkpoint))


if __name__ == "__main__":
    run_command(main)
