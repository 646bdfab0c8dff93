"""The work cell beside a real arm as a node: answers resets, homes the arm, waits for an object."""
