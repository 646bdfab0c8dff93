"""A policy as bytes and back: manifest, safetensors, checks, numpy actor."""

from floop_robot.bundle.actor import Actor
from floop_robot.bundle.bundle import SUFFIX, Bundle
from floop_robot.durable.files import write_atomic
from floop_robot.bundle.manifest import (
    Activation,
    Architecture,
    Check,
    DataRange,
    Distribution,
    Manifest,
    Normalisation,
)
from floop_robot.bundle.verify import Verified, verify

__all__ = [
    "SUFFIX",
    "Activation",
    "Actor",
    "Architecture",
    "Bundle",
    "Check",
    "DataRange",
    "Distribution",
    "Manifest",
    "Normalisation",
    "Verified",
    "verify",
    "write_atomic",
]
