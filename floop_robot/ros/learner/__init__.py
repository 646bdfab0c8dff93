"""The learner's status topic and operators' services; starts the learner process."""
