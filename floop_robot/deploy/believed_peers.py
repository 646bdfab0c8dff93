"""BelievedPeers: whose word counts with the fleet manager, and notes about those whose word did not."""

from __future__ import annotations

from floop_robot.bundle.delivery import RobotHost
from floop_robot.deploy.peer_secrets import PeerSecrets
from floop_robot.deploy.refused_peers import RefusedPeers
from floop_robot.deploy.robot_hosts import RobotHosts


class BelievedPeers:
    """Secrets, hosts and the fleet's configuration, taken together."""

    def __init__(self, secrets: PeerSecrets | None, hosts: RobotHosts) -> None:
        """`secrets`: None believes everybody."""
        self._secrets, self._hosts = secrets, hosts
        self.configured: set[str] = set()
        """Robots of the fleet's configuration."""
        self.refused = RefusedPeers()

    def counts(self, robot: str) -> bool:
        """Whether what a robot reports may change anything: a made-up name is shown and served, and no more."""
        if self._secrets is None or robot in self.configured:
            return True
        self.refused.add(
            f"{robot} is no robot of this fleet's configuration, so what it reports does not count; "
            "if it is yours, raise `robots` on the fleet manager's host"
        )
        return False

    def robot_refusal(self, robot: str, host: RobotHost, secret: str, now_ns: int) -> str:
        """Why a message does not speak for a robot, in one line; empty if it does."""
        if self._secrets is None:
            return self._hosts.claim(robot, host, now_ns)
        if robot not in self.configured:  # it counts for nothing, so a made-up name need cost no disk
            return ""
        if refusal := self._secrets.robots.refusal(robot, secret):
            self.refused.add(f"a message for {robot} from {host.name or 'somewhere'} was refused: {refusal}")
            # A second robot of one name has a secret of its own; its people need to know of the first.
            return self._hosts.refusal(robot, host, now_ns) or f"a message for {robot} was refused: {refusal}"
        return self._hosts.claim(robot, host, now_ns)

    def verdict_refusal(self, who: str, secret: str) -> str:
        """Why a verdict does not come from this site's gate, in one line; empty if it does."""
        if self._secrets is None or not (refusal := self._secrets.site_refusal(secret)):
            return ""
        self.refused.add(f"a verdict of {who!r} was refused: {refusal}")
        return f"the verdict was refused: {refusal}"
