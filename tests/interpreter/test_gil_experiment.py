"""gil.experiment(): the workloads do what they say, the interval is put back whatever happens, figures are exact."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import sysconfig
import threading
import time
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from meminspect import gil
from meminspect.analysis.lengths import exact
from meminspect.errors import UsageError
from meminspect.probes.gil_workloads import WORKLOADS
from meminspect.views import gil_experiment

pytestmark = pytest.mark.imports_much  # matplotlib
WITH_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")
SHORT, LONG = 0.0005, 0.02


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_workload_runs_and_leaves_nothing_behind(name: str) -> None:
    threads, before = threading.active_count(), sys.getswitchinterval()
    made = gil.experiment(name, [SHORT, LONG], seconds=0.15)
    assert threading.active_count() == threads
    assert sys.getswitchinterval() == before == made.interval_before_s
    assert [one.interval_s for one in made.results] == [SHORT, LONG]
    for one in made.results:
        assert one.operations > 0
        assert one.seconds >= 0.15
        assert one.throughput_per_s == pytest.approx(one.operations / one.seconds)
        assert (one.beside_per_s is None) == (name in ("cpu+cpu", "ping-pong"))
        if one.latency.count:
            assert one.latency.count == one.operations
            assert one.latency.total_s <= one.seconds
        assert (one.hand_offs is not None) == WITH_GIL
    assert (made.reason is None) == WITH_GIL
    if WITH_GIL and name == "ping-pong":
        assert all(one.hand_offs.total >= one.operations for one in made.results if one.hand_offs)


@pytest.mark.skipif(not WITH_GIL, reason="this build has no GIL")
def test_a_thread_that_waits_for_a_computing_one_waits_for_the_interval() -> None:
    for seconds in (0.4, 1.0, 3.0):  # a thread that gets no processor, on a busy machine, waits for that
        short, long = gil.experiment("cpu+sleep", [SHORT, LONG], seconds=seconds).results
        if short.throughput_per_s > long.throughput_per_s:
            break
    assert long.latency.max_s is not None
    assert long.latency.max_s >= LONG * 0.9  # nobody asks before an interval has passed
    assert short.throughput_per_s > long.throughput_per_s
    assert long.hand_offs is not None
    assert long.hand_offs.forced > 0


def test_the_interval_is_put_back_whatever_happens() -> None:
    before = sys.getswitchinterval()

    def fails() -> None:
        assert sys.getswitchinterval() == LONG
        raise KeyError("of the workload")

    with pytest.raises(KeyError):
        gil.experiment(fails, [LONG])
    assert sys.getswitchinterval() == before
    if WITH_GIL:
        with gil.trace() as trace:  # the experiment's own trace has ended
            pass
        assert trace.result.exact


def test_a_workload_of_one_s_own() -> None:
    made = gil.experiment(lambda: [time.sleep(0.01)], [SHORT], seconds=0.1)
    [one] = made.results
    assert 1 <= one.operations <= 11
    assert one.latency.median_s is not None
    assert one.latency.median_s >= 0.01
    told = gil.experiment(lambda: [0.25, 0.75], [SHORT], seconds=0.0001, returns_latencies=True)
    assert told.results[0].latency.max_s == 0.75
    assert told.results[0].operations % 2 == 0


@pytest.mark.skipif(not WITH_GIL, reason="this build has no GIL to trace")
def test_where_a_trace_runs_already_it_says_so() -> None:
    with gil.trace():
        made = gil.experiment("cpu+cpu", [SHORT], seconds=0.05)
    assert made.results[0].hand_offs is None
    assert made.reason is not None
    assert "traced already" in made.reason


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("nothing",), "no workload"), (("cpu+cpu", [0.0]), "intervals"), (("cpu+cpu", []), "intervals")],
)
def test_what_cannot_be_is_said(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gil.experiment(*arguments)  # type: ignore[arg-type]


def test_percentiles_are_exact() -> None:
    values = [float(number) for number in range(1, 1001)]
    found = exact(values)
    assert (found.median_s, found.p90_s, found.p99_s, found.p999_s, found.max_s) == (500, 900, 990, 999, 1000)
    assert found.total_s == sum(values)
    assert exact([3.0]).p999_s == statistics.median([3.0])
    assert exact([]).median_s is None


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meminspect", "gil", "experiment", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import time\ndef once(): time.sleep(0.001)\n")
    done = run(
        "mine:once", "--intervals", "0.001,0.005", "--seconds", "0.05", "--json", "-o", "made.json", cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    document = json.loads((tmp_path / "made.json").read_text())
    schema = json.loads(files("meminspect").joinpath("schemas", "gil-experiment-1.json").read_text("utf-8"))
    Draft202012Validator(schema).validate(document)
    assert [one["interval_s"] for one in document["results"]] == [0.001, 0.005]
    assert document["workload"] == "once"
    for arguments, said in ((["nothing"], "cpu+echo"), (["mine:other"], "other"), (["--plot", "x.txt"], ".svg")):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, done
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    made = gil.experiment("cpu+sleep", [SHORT, LONG], seconds=0.05)
    gil_experiment.plot(made, str(tmp_path / "plot.svg"))
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    text = gil_experiment.render(made)
    assert "500 us" in text
    assert "20 ms" in text
    assert "sleep(0)s a second" in text
