"""Does this candidate deserve a robot? Paired sequential trials, verdicts, reports."""
