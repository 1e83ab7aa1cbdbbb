"""The search for a learning rate and its neighbours: short trainings, each judged on speakers set aside."""
