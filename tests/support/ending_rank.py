"""A rank that ends as it is told: `python -m tests.support.ending_rank JOB RESULT`, in place of one that measures.

The last rank is ended as a process is that takes more memory than there is; the others wait for it, for ever.
"""

import os
import signal
import time

if __name__ == "__main__":
    if int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)
