"""Objects as rigid bodies, built from primitives at every reset without reading files."""

from __future__ import annotations

from floop_envs.bullet import bullet
from floop_robot.robot.messages import Vec3
from floop_robot.spec.scenario import ObjectSpec, Shape

RIM_THICKNESS_M = 0.006
"""Thickness of an open basket's walls."""
_FLOOR_THICKNESS_M = 0.004


def open_box_parts(size: Vec3, wall_m: float, floor_m: float) -> list[tuple[Vec3, Vec3]]:
    """(half extents, center) of the floor and four walls of an open box of outer extents `size`, about its center."""
    x, y, z = (0.5 * s for s in size)
    w = 0.5 * wall_m
    return [
        ((x, y, 0.5 * floor_m), (0.0, 0.0, -z + 0.5 * floor_m)),
        ((w, y, z), (x - w, 0.0, 0.0)),
        ((w, y, z), (-x + w, 0.0, 0.0)),
        ((x - 2 * w, w, z), (0.0, y - w, 0.0)),
        ((x - 2 * w, w, z), (0.0, -y + w, 0.0)),
    ]


def create_open_box(
    client: int, mass_kg: float, size: Vec3, wall_m: float, floor_m: float, position: Vec3, yaw_rad: float
) -> int:
    """Create an open box as one compound body; returns its id."""
    parts = open_box_parts(size, wall_m, floor_m)
    shape = bullet.createCollisionShapeArray(
        shapeTypes=[bullet.GEOM_BOX] * len(parts),
        halfExtents=[half for half, _ in parts],
        collisionFramePositions=[center for _, center in parts],
        collisionFrameOrientations=[(0.0, 0.0, 0.0, 1.0)] * len(parts),
        physicsClientId=client,
    )
    return _create_body(client, shape, mass_kg, position, yaw_rad)


def create_object(client: int, spec: ObjectSpec, position: Vec3, yaw_rad: float) -> int:
    """Create the object of a scenario at `position` (center, base frame, m); returns its body id."""
    if spec.shape is Shape.OPEN_BASKET:
        body = create_open_box(
            client, spec.mass_kg, spec.size_m, RIM_THICKNESS_M, _FLOOR_THICKNESS_M, position, yaw_rad
        )
    else:
        body = _create_body(client, _primitive(client, spec), spec.mass_kg, position, yaw_rad)
    bullet.changeDynamics(
        body,
        -1,
        lateralFriction=spec.lateral_friction,
        spinningFriction=0.002,
        rollingFriction=rolling_friction(spec.shape),
        linearDamping=0.04,
        angularDamping=0.04,
        # It stands still, so it costs nothing until the arm touches it, which wakes it.
        activationState=bullet.ACTIVATION_STATE_ENABLE_SLEEPING | bullet.ACTIVATION_STATE_SLEEP,
        physicsClientId=client,
    )
    return body


def rolling_friction(shape: Shape) -> float:
    """Coefficient of the friction against rolling (m), for the object and for the fingers that hold it.

    Balls alone have it. Others do not roll, and it would add two rows for each point of contact to the solver's work.
    """
    return 0.0005 if shape is Shape.SPHERE else 0.0


def _primitive(client: int, spec: ObjectSpec) -> int:
    x, y, z = spec.size_m
    if spec.shape is Shape.BOX:
        half = (0.5 * x, 0.5 * y, 0.5 * z)
        return int(bullet.createCollisionShape(bullet.GEOM_BOX, halfExtents=half, physicsClientId=client))
    if spec.shape is Shape.CYLINDER:
        return int(bullet.createCollisionShape(bullet.GEOM_CYLINDER, radius=0.5 * x, height=z, physicsClientId=client))
    return int(bullet.createCollisionShape(bullet.GEOM_SPHERE, radius=0.5 * x, physicsClientId=client))


def _create_body(client: int, shape: int, mass_kg: float, position: Vec3, yaw_rad: float) -> int:
    return int(
        bullet.createMultiBody(
            baseMass=mass_kg,
            baseCollisionShapeIndex=shape,
            basePosition=position,
            baseOrientation=bullet.getQuaternionFromEuler((0.0, 0.0, yaw_rad)),
            physicsClientId=client,
        )
    )
