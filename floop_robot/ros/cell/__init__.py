"""The work cell beside a real arm: episode resets, homing, object readiness."""
