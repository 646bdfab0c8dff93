"""A fleet manager as its real node process, and robots that take policies from it as real ones do."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import Any

from floop_interfaces.srv import FleetStatus
from floop_robot.bundle import Bundle
from floop_robot.robot.policy_updater import PolicyUpdater, UpdaterConfig
from floop_robot.ros.node import topics
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.spec.config import DeployConfig, Endpoints, FloopConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from tests.support.in_process_fleet import ActingPolicyBuffer, OperatorClient
from tests.support.operator_tokens import TOKEN, WHO, operators_file
from tests.support.ports import free_base_port
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import NodeProcess
from tests.support.sample_bundles import make_bundle
from tests.support.waiting import wait_for

RULES = get_task("floop/Pick-v0")
TASK, IDS = RULES.spec, ids_of(RULES, load_robot("panda"))
ANSWER_S = 8.0
"""An answer without waiting comes in milliseconds, but the cores are busy."""
TRIES = 5


def policy(seed: int) -> Bundle:
    return make_bundle(seed, task=TASK, ids=IDS)


class Acting:
    """A robot that takes policies and acts on them; its work is what a test says."""

    def __init__(self, config: FloopConfig, name: str, folder: Path) -> None:
        self.name = name
        self.idle, self.drained, self.estop = False, False, False
        self.by_fleet_manager = False
        self.busy = False
        """An episode runs that does not end."""
        self.policy_buffer = ActingPolicyBuffer(TASK)
        endpoints = config.endpoints
        settings = UpdaterConfig(
            robot=name,
            boot_id="boot",
            announcements=endpoints.fleet,
            rpc=endpoints.fleet_rpc,
            folder=folder / name,
            heartbeat_s=config.deploy.heartbeat_s,
        )
        self.updater = PolicyUpdater(settings, TASK, IDS, self.policy_buffer, lambda _: None, self)
        self.updater.start()

    def set_fleet_drain(self, drain: bool) -> None:
        """A robot between two episodes stands at once."""
        self.by_fleet_manager = drain
        self.drained, self.idle = drain, drain and not self.busy

    def stop(self) -> None:
        self.updater.stop()
        self.policy_buffer.stop()


class FleetRig:
    """Starts the node; everything else asks it."""

    def __init__(self, folder: Path, domain: int, robots: int = 2) -> None:
        self.folder, self.domain = folder, domain
        policy(0).save(folder / "base.floop")
        self.config = FloopConfig(
            robots=robots,
            run_dir=str(folder / "run"),
            baseline=str(folder / "base.floop"),
            operators=operators_file(folder),
            endpoints=Endpoints(base_port=free_base_port()),
            deploy=DeployConfig(heartbeat_s=0.1),
        )
        self.config_file = write_config(self.config)
        self.peer = Peer(domain)
        self.robots: list[Acting] = []
        self.nodes: list[NodeProcess] = []

    def start(self, module: str, namespace: str, *parameters: str, config: Path | None = None) -> NodeProcess:
        given = [word for p in (f"config:={config or self.config_file}", *parameters) for word in ("-p", p)]
        log = self.folder / f"{module}{namespace.replace('/', '-')}.log"
        self.nodes.append(NodeProcess(module, ["-r", f"__ns:={namespace}", *given], self.domain, log))
        return self.nodes[-1]

    def start_manager(self) -> NodeProcess:
        """Start the fleet manager's node and wait until it answers."""
        node = self.start("fleet_manager_node", "/fleet")
        self.wait_for_manager()
        return node

    def wait_for_manager(self) -> None:
        """Until it answers."""
        wait_for(lambda: self.ask(FleetStatus, topics.FLEET_STATUS).success, 30.0, "the fleet manager")

    def start_robots(self) -> None:
        """Robots that act; wait until the fleet manager heard of all."""
        self.robots = [Acting(self.config, name, self.folder) for name in self.config.robot_names]
        wait_for(lambda: [r.version > 0 for r in self.state().robots] == [True] * len(self.robots), what="the robots")

    def ask(self, kind: Any, name: str, **fields: Any) -> Any:
        """An answer. A call may vanish while discovery goes on, or with a killed server: it is sent again, with its id.

        Orders have one effect however often they are sent.
        """
        request = kind.Request(**fields)
        if hasattr(request, "call_id"):
            request.call_id = request.call_id or uuid.uuid4().hex
        patience_s = ANSWER_S + fields.get("wait_s", 0.0)
        for _ in range(TRIES - 1):
            with contextlib.suppress(AssertionError):
                return self.peer.call(kind, name, request, patience_s)
        return self.peer.call(kind, name, request, patience_s)

    def order(self, kind: Any, name: str, **fields: Any) -> Any:
        """An operator's call, with name and token unless given."""
        return self.ask(kind, name, **({"who": WHO, "token": TOKEN} | fields))

    def state(self) -> Any:
        """The fleet's state, asked for."""
        return self.ask(FleetStatus, topics.FLEET_STATUS).state

    def client(self) -> OperatorClient:
        return OperatorClient(
            self.config.endpoints.fleet_rpc, WHO, token=TOKEN, timeout_s=20.0, run_dir=Path(self.config.run_dir)
        )

    def acting(self, version: int) -> None:
        """Wait until all robots act on `version`."""
        for robot in self.robots:
            wait_for(lambda r=robot: r.policy_buffer.acting == version, what=f"{robot.name} on v{version}")

    def close(self) -> None:
        for robot in self.robots:
            robot.stop()
        for node in self.nodes:
            node.kill()
        self.peer.close()
