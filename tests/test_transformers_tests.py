"""How the outcomes of transformers' own tests are compared with the lists; and what is unpacked of its distribution."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.ladder.transformers_tests import PACKAGE, unpack_tests
from tests.ladder.transformers_tests.outcomes import DUAL, LISTED, PLAIN, WITHOUT, main

CASE = '<testcase classname="tests.{kind}" name="{name}">{child}</testcase>'


def outcomes(changed: dict[tuple[str, str], str]) -> str:
    """A report in which all goes as listed, and one more test passes, but for what is changed."""
    cases = []
    for kind, listed in LISTED.items():
        for name in [*listed, "test_more"]:
            child = changed.get((kind, name), "<failure/>" if name in listed else "")
            cases.append(CASE.format(kind=kind, name=name, child=child))
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, None),
        ({(DUAL, "test_more"): "<failure/>"}, "DualWhisperTest: test_more failed, and is not in"),
        ({(WITHOUT, "test_more"): "<skipped/>"}, "WithoutSecondAttentionsTest: test_more skipped, and is not in"),
        (dict.fromkeys([(kind, "test_more") for kind in (PLAIN, WITHOUT, DUAL)], "<skipped/>"), None),
        ({(DUAL, "test_attention_outputs"): ""}, "test_attention_outputs passed, and is in"),
    ],
)
def test_surprises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[tuple[str, str], str], told: str | None
) -> None:
    (tmp_path / "outcomes.xml").write_text(outcomes(changed))
    assert main(str(tmp_path / "outcomes.xml")) == (told is not None)
    output = capsys.readouterr().out
    assert told is None or told in output
    (tmp_path / "outcomes.xml").write_text(outcomes(changed).replace("test_attention_outputs", "test_renamed"))
    assert main(str(tmp_path / "outcomes.xml")) == 1
    assert "there is no test_attention_outputs" in capsys.readouterr().out


def test_only_the_tests_are_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "library.tar.gz", "w:gz") as archive:
        for name in ("library-1/tests/test_common.py", "library-1/tests/deep/test_x.py", "library-1/src/y.py"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"#"))
    package = unpack_tests(tmp_path / "library.tar.gz", tmp_path / "out") / PACKAGE
    files = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    stand_ins = {"exporters/test_export.py", "generation/test_utils.py"}
    packages = {"__init__.py", "exporters/__init__.py", "generation/__init__.py"}
    assert files == {"test_common.py"} | stand_ins | packages
