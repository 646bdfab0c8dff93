"""What the learner samples: journal rows as complete transitions, in regions that are mixed into batches."""
