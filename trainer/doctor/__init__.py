"""What a machine has and lacks for a run: each check is a function from :class:`~.facts.Facts` to findings.

Reads, measures and reports. Changes nothing on the machine and starts no engine.
"""
