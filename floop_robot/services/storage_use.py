"""What a fleet uses of the central disk, beside its bounds; asking takes no longer in a large fleet."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from floop_robot.deploy.messages import StorageUse
from floop_robot.deploy.registry import registry_use
from floop_robot.services.supervision.log_rotation import PREVIOUS
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import StorageError
from floop_robot.spec.local_time import local_time
from floop_robot.stream.journal import JOURNAL_FILE
from floop_robot.stream.journal_reader import JournalReader

LOOK_S = 5.0
REPORT_FILES = "[0-9]*_*"
"""As `gate/report_log.py` names them; that needs the simulator, and this does not."""


class StorageWatch:
    """Looks again when the last look is `LOOK_S` ago: a screen may ask many times a second."""

    def __init__(self, config: FloopConfig) -> None:
        self._config, self._due_s = config, 0.0
        self._found: tuple[StorageUse, ...] = ()

    def use(self) -> tuple[StorageUse, ...]:
        """As `storage_use`."""
        if (now := time.monotonic()) >= self._due_s:
            self._due_s = now + LOOK_S
            with contextlib.suppress(OSError):  # a folder that goes while it is looked at
                self._found = storage_use(self._config)
        return self._found


def storage_use(config: FloopConfig) -> tuple[StorageUse, ...]:
    """Journal, registry, reports, logs and spools below the run directory of this host; what is missing is left out."""
    folder, storage = Path(config.run_dir), config.storage
    logs = list((folder / "logs").glob("*.log"))
    spools = [path for path in folder.rglob("spool") if path.is_dir()]
    found = [
        _journal(folder / JOURNAL_FILE, storage.journal_gb * 1e9),
        _registry(folder, storage.registry_gb * 1e9),
        StorageUse(
            name="reports",
            bytes=sum(map(_size, (folder / "gate").glob(REPORT_FILES))),
            bound=round(storage.reports_mb * 1e6),
        ),
        StorageUse(
            name="logs",
            bytes=sum(map(_size, [*logs, *(path.with_suffix(PREVIOUS) for path in logs)])),
            bound=round(storage.log_mb * 1e6) * len(logs),
        ),
        StorageUse(
            name="spools",
            bytes=sum(_size(file) for spool in spools for file in spool.iterdir()),
            bound=round(config.robot.spool_limit_mb * 1e6) * len(spools),
        ),
    ]
    return tuple(each for each in found if each is not None and (each.bytes or each.note))


def _journal(path: Path, bound: float) -> StorageUse | None:
    if not path.exists():
        return None
    try:
        reader = JournalReader(path)
        try:
            use = reader.use()
        finally:
            reader.close()
    except StorageError as error:
        return StorageUse(name="journal", bytes=_size(path), bound=round(bound), note=str(error))
    notes = [f"since {local_time(use.oldest_ns)}"] if use.oldest_ns else []
    if use.removed_records:
        notes.append(f"{use.removed_records} older records removed")
    if use.needed:
        notes.append("beyond its bound: what is left is needed (the newest transitions)")
    return StorageUse(name="journal", bytes=use.bytes, bound=round(bound), note=", ".join(notes))


def _registry(folder: Path, bound: float) -> StorageUse | None:
    path = folder / "registry.sqlite"
    if not path.exists():
        return None
    try:
        use = registry_use(path)
    except StorageError as error:
        return StorageUse(name="registry", bytes=_size(path), bound=round(bound), note=str(error))
    note = "beyond its bound: what is left is needed" if use.needed else ""
    return StorageUse(name="registry", bytes=use.bytes, bound=round(bound), note=note)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0
