"""Transcribe recordings: python launch/transcribe.py --checkpoint runs/demo/best recording.flac folder/

Subtitles: python launch/transcribe.py --checkpoint runs/demo/best --format srt --output subtitles folder/
Two microphones: python launch/transcribe.py --checkpoint openai/whisper-small child.wav --second room.wav --fuse
While it is spoken: python launch/transcribe.py --checkpoint openai/whisper-base --live microphone
"""

from trainer.command_line import run_command


def main(arguments: list[str]) -> int:
    from trainer.transcription.command import main as transcribe

    return transcribe(arguments)


if __name__ == "__main__":
    run_command(main)
