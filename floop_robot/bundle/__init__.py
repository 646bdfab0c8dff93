"""A policy as bytes and back: manifest, safetensors, checks, numpy actor."""

from floop_robot.bundle.actor import Actor
from floop_robot.bundle.bundle import Bundle
from floop_robot.bundle.foreign_file import SUFFIX
from floop_robot.bundle.manifest import (
    Activation,
    Architecture,
    DataRange,
    Distribution,
    Manifest,
    Normalization,
    PolicyCheck,
)
from floop_robot.bundle.verify import VerifiedBundle, verify
from floop_robot.durable.files import write_atomic

__all__ = [
    "SUFFIX",
    "Activation",
    "Actor",
    "Architecture",
    "Bundle",
    "DataRange",
    "Distribution",
    "Manifest",
    "Normalization",
    "PolicyCheck",
    "VerifiedBundle",
    "verify",
    "write_atomic",
]
