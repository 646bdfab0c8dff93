"""The loop as ROS 2 nodes: topics, services, parameters and lifecycle around rooms that know nothing of ROS."""

import signal
import sys

if sys.argv[0] == "-m" or sys.argv[0].endswith("_node"):
    # This process is becoming a node. ROS takes half a second to import, and only then come handlers of its own: until
    # then a signal ends it at once, without a traceback from the midst of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
