"""The experiment that proves the loop: a fleet at work, a world that shifts, and the time until it is mended."""
