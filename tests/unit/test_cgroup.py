"""Control group texts of both versions, as the kernel writes them, made into the model."""

from __future__ import annotations

from typing import Any

from meminspect.probes import cgroup

V2 = {
    "memory.current": b"314572800\n",
    "memory.max": b"max\n",
    "memory.high": b"536870912\n",
    "memory.stat": b"anon 200\nfile 90\nkernel 10\nshmem 5\n",
    "memory.events": b"low 0\nhigh 7\nmax 0\noom 2\noom_kill 1\n",
}
V1 = {
    "memory.usage_in_bytes": b"300\n",
    "memory.limit_in_bytes": b"9223372036854771712\n",
    "memory.stat": b"cache 90\nrss 100\nshmem 5\ntotal_cache 180\ntotal_rss 200\ntotal_shmem 10\n",
    "memory.oom_control": b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
}


def raw(version: int, *levels: dict[str, Any]) -> dict[str, Any]:
    return {"version": version, "path": "/app", "levels": list(levels), "reason": None}


def test_version_2() -> None:
    group = cgroup.build(raw(2, V2))
    assert group is not None
    assert (group.current_bytes, group.max_bytes, group.high_bytes) == (314572800, None, 536870912)
    assert (group.anon_bytes, group.file_bytes, group.kernel_bytes, group.shmem_bytes) == (200, 90, 10, 5)
    assert (group.oom_events, group.oom_kills, group.headroom_bytes) == (2, 1, None)


def test_version_1_has_no_limit_where_the_number_is_the_largest() -> None:
    group = cgroup.build(raw(1, V1))
    assert group is not None
    assert (group.current_bytes, group.max_bytes, group.headroom_bytes) == (300, None, None)
    assert (group.anon_bytes, group.file_bytes, group.shmem_bytes, group.oom_kills) == (200, 180, 10, 3)


def test_the_nearest_limit_may_be_that_of_a_group_above() -> None:
    above = {"memory.current": b"500", "memory.max": b"800"}
    far = {"memory.current": b"500", "memory.max": b"9000"}
    group = cgroup.build(raw(2, V2 | {"memory.current": b"100", "memory.max": b"1000"}, above, far))
    assert group is not None
    assert group.headroom_bytes == 300


def test_a_group_without_files_is_none() -> None:
    assert cgroup.build(raw(2, dict.fromkeys(V2))) is None
    assert cgroup.build({"version": None, "path": None, "levels": [], "reason": "none"}) is None


def test_text_that_is_no_table_is_unknown() -> None:
    group = cgroup.build(raw(2, V2 | {"memory.stat": b"\xff\xfe\nanon many\n", "memory.current": b"-1"}))
    assert group is not None
    assert group.anon_bytes is None
    assert group.current_bytes is None
