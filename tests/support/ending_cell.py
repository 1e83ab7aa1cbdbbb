"""A cell's process for tests of the driver: ``python -m tests.support.ending_cell NAME SETTING RESULT``; no torch."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

PART = {"name": "first", "status": "measured", "reason": None, "seconds": 0.1, "figures": {"answer": 42}}


def main(name: str, setting: str, result: str) -> None:
    told = json.loads(Path(setting).read_text())
    figures = {"seconds": told["seconds"], "offline": os.environ["HF_HUB_OFFLINE"]}
    Path(result).write_text(json.dumps({"parts": [PART | {"figures": PART["figures"] | figures}]}))
    if name == "crashes":
        os.abort()
    if name == "errs":
        raise ValueError("the last line")
    if name == "hangs":
        child = subprocess.Popen(["sleep", "600"])
        (Path(told["folder"]) / "child").write_text(str(child.pid))
        time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
