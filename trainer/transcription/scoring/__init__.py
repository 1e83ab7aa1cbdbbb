"""Texts that a checkpoint finds likely or not: preparation's ``--score``, and its page."""
