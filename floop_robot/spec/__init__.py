"""What a task and a robot are: names, shapes, units, frames, rates, ranges, limits, records and config."""
