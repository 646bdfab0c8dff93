"""SIGKILL through a whole simulated fleet, with a ledger: `python benchmarks/kills.py [--kills 56] [--report FILE]`.

4 robots, ingest, learner, gate, explorer and fleet manager as real processes; the world shifts, and while the fleet
learns its way back one process after another is killed, every kind equally often, at any instant. It takes some five
minutes. Wall times on the machine as it is, so run it alone. Exit status 1 when something falls short of its bar.

A process is back when it does its job again (the table says what that is), as seen in figures that are written every
half second: true times are up to 0.6 s shorter, and none below 0.75 s can be seen.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from floop_robot.demo.kills import KillPlan, KillReport, run_kills
from floop_robot.spec.errors import FloopError


def text(report: KillReport) -> str:
    lines = [f"{'kind':<14} {'kills':>5} {'median s':>9} {'slowest s':>10} {'bar s':>6}  back at work when"]
    for kind, found in report.kinds.items():
        lines.append(
            f"{kind:<14} {found.kills:>5} {found.median_s:>9.1f} {found.slowest_s:>10.1f} {found.bar_s:>6.0f}  "
            f"{found.at_work}"
        )
    lines += [
        f"{len(report.kills)} kills in {report.wall_s:.0f} s, {report.versions} versions rolled out meanwhile",
        f"acknowledged rows: {report.rows_acked}; missing {report.rows_missing}, lost {report.rows_lost}, "
        f"doubled {report.rows_doubled} ({report.rows_in_journal} in the journal, explorers included)",
        f"policy steps/s of a robot: {report.undisturbed_steps_per_s:.1f} undisturbed, "
        f"{report.others_steps_per_s:.1f} while another process was down, "
        f"{report.alone_steps_per_s:.1f} without learner, gate, explorer and fleet manager",
    ]
    return "\n".join(lines + [f"SHORT: {line}" for line in report.failures])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=56)
    parser.add_argument("--robots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run-dir", type=Path, default=None, help="left out: a new folder below runs/")
    parser.add_argument("--report", type=Path, default=None, help="write the report here, as JSON")
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    found = parser.parse_args()
    if found.smoke:
        found.kills, found.robots = 1, 1
    run_dir = found.run_dir or Path("runs") / time.strftime("kills-%Y%m%d-%H%M%S")
    plan = KillPlan(run_dir=run_dir, robots=found.robots, seed=found.seed, kills=found.kills)
    if found.smoke:  # one kill of the quickest to come back
        plan = msgspec.structs.replace(plan, names=("ingest",), undisturbed_s=1.0, alone_s=1.0)
    try:
        report = run_kills(plan, lambda line: print(line, file=sys.stderr, flush=True))
    except FloopError as error:
        print(f"kills: {error}", file=sys.stderr)
        return 2
    if found.report is not None:
        found.report.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    print(text(report))
    return 1 if report.failures and not found.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
