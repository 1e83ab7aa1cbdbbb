"""transformers' own tests of a model, on this project's classes: what of them its source distribution holds.

That is its tests for models of any kind (tests/test_modeling_common.py). Those of Whisper alone, of ``generate()`` and
of exporting lie in folders that it leaves out. Nothing of it is kept here: ``make test-ladder`` fetches it.
"""

import shutil
import tarfile
from pathlib import Path

PACKAGE = "transformers_own_tests"
# What the tests import of the folders that are not there, and only inherit from.
ABSENT = {"exporters/test_export.py": "ExportTesterMixin", "generation/test_utils.py": "GenerationTesterMixin"}


def unpack_tests(archive: Path, folder: Path) -> Path:
    """Put the tests of a source distribution into ``folder`` as an importable package; returns the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    package = folder / PACKAGE
    package.mkdir(parents=True)
    with tarfile.open(archive) as distribution:
        for member in distribution:
            path = Path(member.name)
            if path.parts[1:-1] == ("tests",) and path.suffix == ".py":
                file = distribution.extractfile(member)
                assert file is not None
                (package / path.name).write_bytes(file.read())
    for name, base in ABSENT.items():
        (package / name).parent.mkdir()
        (package / name).write_text(f"class {base}:\n    pass\n", encoding="utf-8")
    for directory in (package, *(path for path in package.iterdir() if path.is_dir())):
        (directory / "__init__.py").touch()
    return folder
