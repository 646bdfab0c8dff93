"""BootAlias: under which boot the rest of a boot's records travel, once ingest has others under its keys.

Two robots that run with copies of one spool write under the same keys. The second to be heard keeps its records on disk
as they are, and sends them under a boot of its own from the first key on that is not at ingest.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import msgspec

from floop_robot.durable.files import replace_file, sync_folder
from floop_robot.durable.framing import deframe, frame
from floop_robot.spec.errors import StorageError
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.messages import SentBlock
from floop_robot.stream.protocol import OutgoingBlock

_PREFIX = "boot_alias."


class BootAlias(msgspec.Struct, frozen=True):
    """Records from key `from_seq` on travel under `boot_id`; those before are at ingest under their own boot."""

    boot_id: str
    from_seq: int

    def renamed(self, block: OutgoingBlock, own_boot_id: str) -> OutgoingBlock:
        """A block of the disk as it is sent; always the same bytes."""
        found = decode_block(block.payload)
        info = msgspec.structs.replace(found.info, boot_id=self.boot_id)
        records = [
            msgspec.structs.replace(record, episode_boot_id=self.boot_id)
            if getattr(record, "episode_boot_id", "") == own_boot_id
            else record
            for record in found.records()
        ]
        return OutgoingBlock(block.first_seq, block.end_seq, encode_block(info, block.first_seq, records))


def new_alias(boot_id: str, from_seq: int, first: SentBlock | None) -> BootAlias:
    """The alias of records that begin with block `first`: the same for copies of the same records, so none is doubled.

    Without any record it is one that nobody else has.
    """
    if first is None:
        return BootAlias(secrets.token_hex(8), from_seq)
    name = f"{boot_id} {from_seq} {first.end_seq} {first.crc}"
    return BootAlias(hashlib.sha256(name.encode()).hexdigest()[:16], from_seq)


class BootAliases:
    """One small file per boot in a spool's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, boot_id: str) -> BootAlias | None:
        """The alias of a boot, if it has one; raises `StorageError` for a damaged file, OSError."""
        path = self._path(boot_id)
        try:
            body = deframe(path.read_bytes())
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(body or b"", type=BootAlias)
        except (msgspec.MsgspecError, ValueError):
            raise StorageError(
                f"{path} is damaged; delete it: then records that were not confirmed yet may be stored twice"
            ) from None

    def store(self, boot_id: str, alias: BootAlias) -> None:
        """Write durably; raises OSError."""
        replace_file(self._path(boot_id), frame(msgspec.json.encode(alias)))

    def keep_only(self, boot_ids: set[str]) -> None:
        """Forget the aliases of boots that are no longer on this disk; raises OSError."""
        gone = [path for path in self._folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX) not in boot_ids]
        for path in gone:
            path.unlink(missing_ok=True)
        if gone:
            sync_folder(self._folder)

    def _path(self, boot_id: str) -> Path:
        return self._folder / f"{_PREFIX}{boot_id}"
