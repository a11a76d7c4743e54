"""Turn an extract into a page: run the notebook on it, then make one self-contained HTML file of what it showed.

The main program of the rendering child process: `python -m ctp.reports.render SCRATCH LANGUAGE DAY`. It reads
`SCRATCH/extract` and leaves `report.html`, `chart.png` and `summary.json` in `SCRATCH`.

Invariants:
1. The page loads nothing: no address, no script, no picture that is not inside it.
2. A cell that fails ends the run with its traceback; a page is written only after every cell has run.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctp.config import PROJECT
from ctp.i18n import text
from ctp.reports.extracted import ABOUT, CHART, SUMMARY
from ctp.reports.files import write_whole

NOTEBOOK = PROJECT / "notebooks" / "research" / "daily_report.ipynb"
TEMPLATES = Path(__file__).resolve().parent / "template"
KERNEL = "ctp-report"
PAGE = "report.html"
_LOADS = re.compile(
    r"""(?i)<(script|link|iframe|object|embed|base|form)\b|\b(src|href|action|data|poster|srcset)\s*=|url\(|@import"""
)


def render(scratch: Path, language: str, day: str) -> None:
    """Run the notebook on the extract in `scratch` and write page, chart and summary beside it."""
    import papermill

    _make_kernel(scratch)
    done = papermill.execute_notebook(
        str(NOTEBOOK),
        str(scratch / "report.ipynb"),
        parameters={"extract": str(scratch / "extract"), "language": language, "day": day},
        kernel_name=KERNEL,
        progress_bar=False,
        request_save_on_cell_execute=False,
        cwd=str(scratch),
    )
    for file in (SUMMARY, CHART):
        if not (scratch / file).is_file():
            raise FileNotFoundError(f"the notebook left no {file}")
    json.loads((scratch / SUMMARY).read_text("utf-8"))
    about = json.loads((scratch / "extract" / ABOUT).read_text("utf-8"))
    page = to_html(done, language, about)
    write_whole(scratch / PAGE, page.encode())


def to_html(notebook: Any, language: str, about: Mapping[str, Any]) -> str:
    """Return an executed notebook as one page; raises ValueError when the page would load something."""
    from nbconvert.exporters.templateexporter import TemplateExporter

    # Not the exporter for HTML: it brings styles and scripts of its own, and rewrites what it is given.
    exporter: Any = TemplateExporter(
        template_name="page", extra_template_basedirs=[str(TEMPLATES)], template_extension=".html.j2"
    )  # type: ignore[no-untyped-call]
    page, _ = exporter.from_notebook_node(notebook, resources={"page": _head(language, about)})
    if found := loads(page):
        raise ValueError(f"the page would load something: {found}")
    return str(page)


def _head(language: str, about: Mapping[str, Any]) -> dict[str, str]:
    """Return what the page says of itself outside its parts."""
    account, period, reader = about["account"], about["period"], about["reader"]
    mode, kind = text(f"mode.{account['mode']}", language), text(f"report.title.{period['kind']}", language)
    return {
        "language": language,
        "title": f"[{mode}] {account['name']} · {kind} {period['first']}",
        "theme": "dark" if reader["theme"] == "dark" else "light",
        "rise_colour": "green" if reader["rise_colour"] == "green" else "red",
    }


def loads(page: str) -> str:
    """Return the first piece of markup that makes a browser fetch or run something; empty when there is none.

    Text of people is escaped, so a `<` of theirs never looks like markup here; attributes are looked at inside tags only.
    """
    for tag in re.findall(r"<[a-zA-Z][^>]*>|<style\b.*?</style>", page, re.DOTALL):
        if found := _LOADS.search(tag):
            return str(tag[max(0, found.start() - 20) : found.end() + 60])
    return ""


def _make_kernel(scratch: Path) -> None:
    """Describe our kernel where jupyter will look for it, and nowhere else."""
    folder = scratch / "jupyter" / "kernels" / KERNEL
    folder.mkdir(parents=True)
    argv = [sys.executable, "-P", "-m", "ctp.reports.kernel", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": KERNEL, "language": "python"}), "utf-8"
    )
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        os.environ[name] = str(scratch / "jupyter" / name.lower())
    os.environ["JUPYTER_PATH"] = str(scratch / "jupyter")


if __name__ == "__main__":
    # Only a check of internationalised addresses in JSON schemas, of which a notebook has none; building its grammar takes
    # as much of the processor as everything a report computes. Without it jsonschema leaves that one check out.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    render(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
