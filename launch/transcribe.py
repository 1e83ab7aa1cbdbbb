"""Transcribe: python launch/transcribe.py --checkpoint runs/demo/best recording.flac folder/"""

from launch.exit_codes import CommandLine, complain, run_command


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("--checkpoint", required=True, help="a folder or hub name, plain Whisper or dual-attention")
    parser.add_argument("--language", help="ISO 639-1 code; detected if the checkpoint knows several")
    parser.add_argument("--task", choices=("transcribe", "translate"), default="transcribe")
    parser.add_argument("files", nargs="+", metavar="FILE_OR_FOLDER")
    options = parser.parse_args(arguments)
    from data.audio import UndecodableAudio
    from data.errors import DataError
    from trainer.transcription import Transcriber, audio_files

    files = audio_files(options.files)
    transcriber = Transcriber(options.checkpoint, options.language, options.task)
    failed = 0
    for file in files:
        try:
            text = transcriber.transcribe(file)
        except UndecodableAudio as error:
            failed += 1
            complain(DataError(f"{file}: {error}"), 1)
            continue
        print(f"{file}: {text}" if len(files) > 1 else text, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
