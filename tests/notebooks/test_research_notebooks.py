"""The research notebooks run from top to bottom in a fresh kernel, on generated candles when nothing was downloaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import papermill
import pytest

from tests.notebooks.quick import QUICK

RESEARCH = Path(__file__).resolve().parents[2] / "notebooks" / "research"
MOST_LINES = 10


def notebooks() -> list[Path]:
    """Return every research notebook."""
    return sorted(RESEARCH.glob("*.ipynb"))


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda file: file.stem)
def test_notebook_runs_from_top_to_bottom(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(RESEARCH.parents[1]))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    done = papermill.execute_notebook(
        str(notebook),
        str(tmp_path / notebook.name),
        parameters=QUICK.get(notebook.stem, {}),
        kernel_name="python3",
        progress_bar=False,
        cwd=str(tmp_path),
    )
    printed = "".join(
        output.get("text", "") for cell in done.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert printed.strip(), "a notebook ends with a conclusion computed from its own data"
    assert os.environ["CTP_HOME"]


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda file: file.stem)
def test_notebook_is_short_clean_and_has_parameters(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code[0]["metadata"].get("tags") == ["parameters"]
    for cell in code:
        assert not cell["outputs"]
        assert cell["execution_count"] is None
        assert len("".join(cell["source"]).splitlines()) <= MOST_LINES
