"""Starting, watching and stopping the processes of a fleet; which there are, on which ports, and how they are."""
