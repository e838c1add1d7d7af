"""gunicorn with two workers under load, one stuck in a C call: bench/servers.py as a test."""

from __future__ import annotations

import json
import sys
from importlib import util
from importlib.resources import files
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "servers.py"
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.mark.skipif(util.find_spec("gunicorn") is None, reason="gunicorn is not installed")
@pytest.mark.skipif(not HAS_GIL, reason="needs a GIL that one thread can keep")
@pytest.mark.skipif(not SCRIPT.exists(), reason="bench/servers.py is not beside the tests")
def test_gunicorn_answers_by_signal_and_from_outside(tmp_path: Path) -> None:
    spec = util.spec_from_file_location("servers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    servers = util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    folder = tmp_path / "server"
    folder.mkdir()
    lines: list[str] = []
    reports = servers.run(folder, lines.append)
    assert set(reports) == {"stuck", "idle", "stuck from outside", "idle from outside"}
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("meminspect").joinpath("schemas", "report-1.json").read_text())
    for report in reports.values():
        jsonschema.validate(report, schema)
    assert reports["stuck"]["process"]["pid"] == reports["stuck from outside"]["process"]["pid"]
    assert reports["stuck from outside"]["gil"]["holder_native_id"] == reports["stuck"]["process"]["pid"]
