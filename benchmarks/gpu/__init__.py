"""What this project promises of a GPU, measured on one by one command in eight minutes; in the small on a CPU."""

import time

BEGUN = time.monotonic()  # before torch is imported, which takes seconds of the command's time
