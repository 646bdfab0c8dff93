"""`python -m floop_robot.cli` is `floop`."""

from floop_robot.cli.main import main

main()
