"""What a real browser makes of a page: how wide it is at a window's width. Needs chromium; see :data:`BROWSER`."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
# In frames, since a window cannot be as narrow as a telephone.
MEASURE = """
addEventListener("load", () => setTimeout(() => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument.documentElement, width = page.clientWidth;
    const scrolls = e => { for (; e && e !== page; e = e.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX) && e.tagName !== "BODY") return true;
      return false; };
    const beyond = [...page.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > width + 1
      && !scrolls(e)).map(e => e.tagName + "." + (e.getAttribute("class") || e.id || ""));
    return {name: frame.title, client: width, scroll: page.scrollWidth, beyond: [...new Set(beyond)].slice(0, 8)};
  });
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
}, 300));
"""


def measured(pages: Mapping[str, Path], widths: Sequence[int], folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """For each page and width the page's own width (``scroll``) in a window so wide (``client``), and what goes beyond.
    Folded parts are opened."""
    assert BROWSER is not None
    frames = ""
    for name, path in pages.items():
        opened = path.read_text(encoding="utf-8").replace("<details>", "<details open>")
        copy = folder / f"opened_{name}.html"
        copy.write_text(opened, encoding="utf-8")
        for width in widths:
            frames += f'<iframe title="{name} {width}" src="{copy.name}" width="{width}" height="900"></iframe>'
    outer = folder / "frames.html"
    outer.write_text(f"<!doctype html><body>{frames}<script>{MEASURE}</script></body>", encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    told = json.loads(html.unescape(found[1]))
    return {(one["name"].rpartition(" ")[0], int(one["name"].rpartition(" ")[2])): one for one in told}
