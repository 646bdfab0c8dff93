"""ReportLog: the gate's reports, a line of JSON each, in files that are only appended to; the oldest files go first.

Each line ends with its checksum (`durable/checked_json.py`).
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from floop_robot.durable.checked_json import seal, unseal
from floop_robot.durable.files import sync_folder, write_all
from floop_robot.gate.report import TrialReport
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)

FILES = 10
"""A file is closed at this part of the limit, so that a tenth of the reports goes at a time."""
_DAY = "%Y%m%d"
NAMES = "[0-9]*_*"
"""Files of reports: `20260530_0.jsonl`. Earlier ones had a file for each report (`20260530_101112_….json`)."""


class ReportLimits(msgspec.Struct, frozen=True):
    """How much is kept."""

    max_bytes: float = 200e6
    max_age_s: float = 30 * 86400.0


class ReportLog:
    """One writer; files sort by time."""

    def __init__(self, folder: Path, limits: ReportLimits | None = None) -> None:
        self._folder, self._limits = folder, limits or ReportLimits()

    def append(self, report: TrialReport) -> None:
        """Write a report (NaN becomes null), durably, and remove what is beyond the limits; raises `StorageError`."""
        line = seal(msgspec.json.encode(report))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(self._file(report.judged_ns, len(line)), line)
            self._trim(report.judged_ns)
        except OSError as error:
            raise StorageError(f"cannot write a report into {self._folder}: {error.strerror}; free space") from None

    def _file(self, now_ns: int, size: int) -> Path:
        day = time.strftime(_DAY, time.gmtime(now_ns / 1e9))
        files = sorted(self._folder.glob(f"{day}_*.jsonl"), key=_age_key)
        if not files:
            return self._folder / f"{day}_0.jsonl"
        if files[-1].stat().st_size + size <= self._limits.max_bytes / FILES:
            return files[-1]
        return self._folder / f"{day}_{_age_key(files[-1])[1] + 1}.jsonl"

    @staticmethod
    def _write(path: Path, line: bytes) -> None:
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a kill
            write_all(descriptor, b"\n" + line if is_torn else line)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(path.parent)

    def _trim(self, now_ns: int) -> None:
        files = sorted(self._folder.glob(NAMES), key=_age_key)
        sizes = [path.stat().st_size for path in files]
        oldest_s = max(0.0, now_ns / 1e9 - self._limits.max_age_s)
        total, oldest_day = sum(sizes), time.strftime(_DAY, time.gmtime(oldest_s))
        for path, size in zip(files[:-1], sizes, strict=False):
            if total <= self._limits.max_bytes and path.name >= oldest_day:
                return
            path.unlink()
            total -= size


def read_reports(folder: Path) -> Iterator[TrialReport]:
    """The reports in a folder, newest first; what can't be read is left out with one line in the log."""
    for path in sorted(folder.glob("[0-9]*_*.jsonl"), key=_age_key, reverse=True):
        for number, line in reversed(list(enumerate(path.read_bytes().splitlines(), 1))):
            try:
                yield msgspec.convert(_with_nan(msgspec.json.decode(unseal(line, path))), TrialReport)
            except (StorageError, msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
                log.warning("%s, line %d is no report: %s", path, number, error)


def _with_nan(raw: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: where figures of suites and episodes are null, they are NaN again."""
    verdicts = [raw["verdict"], raw["candidate"].get("certificate") or {}]
    figures = [suite for verdict in verdicts for suite in verdict.get("suites", ())]
    for pair in raw["pairs"]:
        figures += [pair["candidate"], pair["incumbent"]]
    for each in figures:
        each.update({name: math.nan for name, value in each.items() if value is None})
    return raw


def _age_key(path: Path) -> tuple[str, int, str]:
    day, _, rest = path.name.partition("_")
    part = rest.removesuffix(".jsonl")
    return (day, int(part), "") if part.isdigit() and path.suffix == ".jsonl" else (day, -1, rest)
