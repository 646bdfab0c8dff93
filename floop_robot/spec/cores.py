"""Processor cores that this process may use, and how many workers they are good for."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

CGROUP_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""Quota of a container (cgroup v2): microseconds in each period, or `max`."""
MAX_EXPLORERS: Final = 4
"""More would make rows faster than one learner can use them."""
MAX_GATE_WORKERS: Final = 8
"""With more, a trial begins many pairs that its verdict does not need."""


def usable_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """Cores of the CPU set, or what a container's quota allows; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no such limit here
    return max(1, cores)


def explorers_for(cores: int) -> int:
    """Explorers on so many cores: half of them; robots, learner and gate have the others."""
    return max(1, min(cores // 2, MAX_EXPLORERS))


def gate_workers_for(cores: int) -> int:
    """Workers of the gate on so many cores: half of them, and two where there are two or three."""
    return max(1, min(cores, 2), min(cores // 2, MAX_GATE_WORKERS))
