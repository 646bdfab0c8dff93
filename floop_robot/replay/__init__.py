"""What the learner samples."""
