"""From rows to batches, the same on any number of ranks, and where a resumed run goes on.

:mod:`.collation` pads the audio and labels of a batch. The log-mel features are made of it later, on the device, in
trainer/step/batch.py.
"""
