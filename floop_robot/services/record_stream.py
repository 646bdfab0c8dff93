"""The stream in which a process of a fleet reports: from its spool to the fleet's ingest."""

from __future__ import annotations

from pathlib import Path

from floop_robot.spec.config import FloopConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.uploader import RecordUploader


def open_stream(config: FloopConfig, name: str, source: Source, spool: Path, secret: str = "") -> RecordUploader:
    """The records of `name`, who shows `secret`.

    Raises `FloopError` for an unknown task or model, or a spool that can't be used.
    """
    rules = get_task(config.task)
    ids = ids_of(rules, load_robot(config.robot.model))
    return RecordUploader(
        spool,
        StreamInfo(robot=name, boot_id="", task=config.task, ids=ids, source=source),
        config.endpoints.ingest,
        limit_mb=config.robot.spool_limit_mb,
        sync_interval_s=config.robot.sync_interval_s,
        task=rules.spec,
        secret=secret,
    )
