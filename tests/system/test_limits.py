import os
import subprocess
import sys
from pathlib import Path

import pytest

from u2pl_ray.system.limits import memory_limit, usable_cpus


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


NESTED = "0::/slurm/job_1/step_0\n"


def test_the_tightest_group_on_the_way_up_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": NESTED,
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slurm/job_1/cpu.max": "450000 100000\n",
            "sys/fs/cgroup/slurm/job_1/step_0/cpu.max": "800000 100000\n",
            "sys/fs/cgroup/slurm/memory.max": f"{8 << 30}\n",
            "sys/fs/cgroup/slurm/job_1/step_0/memory.max": "max\n",
        },
    )
    assert usable_cpus(root) == 4  # 4.5 are not five
    assert memory_limit(root) == 8 << 30


def test_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/job\n2:memory:/job\n1:name=systemd:/x\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4294967296\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert usable_cpus(root) == 3
    assert memory_limit(root) == 4 << 30


def test_without_limits_it_is_the_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    assert usable_cpus(tmp_path) == 2
    assert memory_limit(tmp_path) is None


def test_a_quota_below_one_cpu_is_one(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000"})
    assert usable_cpus(root) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_a_real_process_kept_to_one_core() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from u2pl_ray.system.limits import usable_cpus; print(usable_cpus())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "1"
