"""What the decoder promises on each release of transformers; docs/versions.md says which holds where.

These tests also run in environments that hold torch, transformers and pytest alone, so they import nothing else.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

STRANGER = Path(__file__).with_name("stranger.py")


def ask_stranger(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """What another process finds that never imports this project."""
    environment = {
        **os.environ,
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    command = [sys.executable, "-I", str(STRANGER), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])
