"""Backup and restore of a fleet's central files: journal, registry, checkpoint, configuration, reports, stops, secrets.

A backup is made while the fleet runs. The journal is copied last, so what registry and checkpoint say of it is in it.
Robots are left out: their spools hold what is not delivered, and a copy would send it again under the same keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from floop_robot.durable.checked_json import seal, unseal
from floop_robot.durable.files import TEMPORARY, sync_folder, write_atomic
from floop_robot.durable.locks import is_running
from floop_robot.services.fleet_manager import REGISTRY_FILE
from floop_robot.services.supervision.fleet_description import CONFIG_FILE
from floop_robot.spec.errors import ConfigError, StorageError
from floop_robot.stream.journal import JOURNAL_FILE

MANIFEST = "backup.json"
"""Written last: a folder without it is no whole backup."""
FORMAT = 1
DATABASES = (REGISTRY_FILE, JOURNAL_FILE)
PARTS = (CONFIG_FILE, "checkpoint.learner*", "gate/**/*", "explorers/*/next_*", "stops/**/*", "secrets/**/*")
"""Files of a run directory beside the databases, as patterns."""
_CHUNK = 2**20


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a backup."""

    path: str
    """Within the run directory."""
    bytes: int
    sha256: str
    mode: int = 0o644


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds."""

    format: int
    made_ns: int
    """When it was complete, wall clock."""
    run_dir: str
    files: tuple[StoredFile, ...]


def back_up(run_dir: Path, folder: Path) -> BackupManifest:
    """Copy a fleet's central files into the new `folder`; raises `StorageError` or `ConfigError`."""
    if not (run_dir / REGISTRY_FILE).is_file():
        raise StorageError(f"there is no registry in {run_dir}: no fleet has run there; check the configuration")
    _require_empty(folder, "give a folder that does not exist yet")
    with _one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _require_room(run_dir, folder)
        files = [_copied(run_dir, folder, path) for path in _parts(run_dir)]
        for name in DATABASES:
            if (run_dir / name).is_file():
                _copy_database(run_dir / name, folder / name)
                files.append(_described(folder, name, 0o644))
        manifest = BackupManifest(
            format=FORMAT, made_ns=time.time_ns(), run_dir=str(run_dir.absolute()), files=tuple(files)
        )
    write_atomic(folder / MANIFEST, seal(msgspec.json.format(msgspec.json.encode(manifest), indent=1)))
    return manifest


def restore(folder: Path, run_dir: Path | None = None) -> Path:
    """Check every file of a backup, and put it into `run_dir` (left out: where it was made); returns the run directory.

    It must be empty or missing. All or nothing: files come there by one rename. Raises `StorageError` or `ConfigError`.
    """
    manifest = read_manifest(folder)
    _check(folder, manifest)
    target = run_dir or Path(manifest.run_dir)
    if is_running(target):
        raise ConfigError(f"a fleet runs in {target}; stop it and move that folder away, or give another --run-dir")
    _require_empty(target, f"move it away (mv {target} {target}.before), or give another --run-dir")
    being_made = target.with_name(f"{target.name}.restoring")
    with _one_line(target):
        shutil.rmtree(being_made, ignore_errors=True)  # of a restore that was killed
        for file in manifest.files:
            _copied(folder, being_made, file.path, file.mode)
        if run_dir is not None and (config_file := being_made / CONFIG_FILE).is_file():
            # As it is: a configuration of an earlier floop is named at the start, where it can be changed.
            settings = msgspec.yaml.decode(config_file.read_bytes(), type=dict[str, object])
            write_atomic(config_file, msgspec.yaml.encode(settings | {"run_dir": str(target)}))
        target.mkdir(parents=True, exist_ok=True)
        being_made.replace(target)
        sync_folder(target.parent)
    return target


def read_manifest(folder: Path) -> BackupManifest:
    """What a backup holds; raises `StorageError` for what is none."""
    try:
        data = unseal((folder / MANIFEST).read_bytes(), folder / MANIFEST, "give another backup")
        manifest = msgspec.json.decode(data, type=BackupManifest)
    except OSError:
        raise StorageError(
            f"{folder} is no whole backup: it has no {MANIFEST}, which is written last; give another"
        ) from None
    except msgspec.MsgspecError as error:
        raise StorageError(f"{folder / MANIFEST} is damaged ({error}); give another backup") from None
    if manifest.format != FORMAT:
        raise StorageError(
            f"{folder} has format {manifest.format}, this floop reads {FORMAT}; use the one that wrote it"
        )
    if any(Path(each.path).is_absolute() or ".." in Path(each.path).parts for each in manifest.files):
        raise StorageError(f"{folder / MANIFEST} names files outside of the backup; give another backup")
    return manifest


def _check(folder: Path, manifest: BackupManifest) -> None:
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            raise StorageError(f"{path} is missing in the backup; nothing was restored, give another backup")
        if _sha256(path) != file.sha256:
            raise StorageError(f"{path} is damaged (its sha256 is another); nothing was restored, give another backup")


def _parts(run_dir: Path) -> list[str]:
    found = {path for pattern in PARTS for path in run_dir.glob(pattern)}
    kept = (path for path in found if path.is_file() and not path.is_symlink())
    names = sorted(str(path.relative_to(run_dir)) for path in kept)
    return [name for name in names if not name.endswith((TEMPORARY, ".lock", "-wal", "-shm"))]


def _copied(source: Path, target: Path, name: str, mode: int | None = None) -> StoredFile:
    """Copy a file durably. One that its writer replaces meanwhile is copied as it was."""
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    with (source / name).open("rb") as reader, (target / name).open("wb") as writer:
        found = os.fstat(reader.fileno()).st_mode & 0o777 if mode is None else mode
        os.fchmod(writer.fileno(), found)
        shutil.copyfileobj(reader, writer, _CHUNK)
        writer.flush()
        os.fsync(writer.fileno())
    return _described(target, name, found)


def _described(folder: Path, name: str, mode: int) -> StoredFile:
    path = folder / name
    return StoredFile(name, path.stat().st_size, _sha256(path), mode)


def _copy_database(source: Path, target: Path) -> None:
    """As of one moment, beside its writer; in one step, since a step after a commit would begin anew."""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reader,
            contextlib.closing(sqlite3.connect(target)) as writer,
        ):
            reader.backup(writer, pages=-1)
            writer.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except sqlite3.Error as error:
        raise StorageError(f"cannot copy {source}: {error}; check free space") from None
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_empty(folder: Path, cure: str) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; {cure}")


def _require_room(run_dir: Path, folder: Path) -> None:
    needed = sum(
        (run_dir / name).stat().st_size for name in (*DATABASES, *_parts(run_dir)) if (run_dir / name).exists()
    )
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(f"{folder} has {free / 1e6:.1f} MB free, the backup needs {needed / 1e6:.1f}; free space")


@contextlib.contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {error.strerror}; check free space and permissions") from None
