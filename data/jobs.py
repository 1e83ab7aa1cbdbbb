"""Jobs on the processes of this machine or the machines of a Dask cluster: both are executors of Python's own kind."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

from .errors import DataError

CLUSTER_ANSWERS_IN = 20  # seconds
JOBS_AHEAD = 2  # for each worker: enough to keep it busy, few enough to hold

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerDied(RuntimeError):
    """A process ended before its job did."""

    exit_code = 1


@contextlib.contextmanager
def executor(workers: int, cluster: str | None) -> Iterator[tuple[Executor | None, int]]:
    """Something that runs jobs, and how many at a time; None for this process alone.

    Args:
        workers: processes of this machine; 0 for none but this.
        cluster: address of a Dask scheduler (``tcp://host:8786``), whose machines have this project installed.

    Raises:
        DataError: if the cluster cannot be reached.
    """
    if cluster is not None:
        try:
            from distributed import Client
        except ImportError:
            raise DataError("--cluster wants Dask: pip install 'dual-attention-whisper[cluster]'") from None
        try:
            client = Client(cluster, timeout=CLUSTER_ANSWERS_IN, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise DataError(f"--cluster {cluster}: no Dask scheduler answers: {error}") from None
        with client:
            threads = sum(client.nthreads().values())
            if not threads:
                raise DataError(f"--cluster {cluster}: the scheduler has no workers")
            with client.get_executor(pure=False, retries=2) as remote:
                yield remote, threads
        return
    if workers == 0:
        yield None, 1
        return
    # Not forked: a copy of a process with threads (Arrow's, an object store's) may wait for ever.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with concurrent.futures.ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        try:
            yield pool, workers
        except BaseException:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()  # nobody will take what it is doing, which may be waiting for a network
            raise


def end_with_parent() -> None:
    """End this worker when the process that started it ends, in whatever way.

    Ctrl-C goes to all processes of a terminal, so workers ignore it: the command stops them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_all(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int = 0, cluster: str | None = None
) -> Iterator[Result]:
    """``function`` of every job, in the order in which they end. Only jobs that are about to run are planned.

    Raises:
        WorkerDied: if a process was killed (most often for memory) or crashed, or the cluster is gone.
        Whatever ``function`` raises.
    """
    with executor(workers, cluster) as (pool, width):
        if pool is None:
            yield from map(function, jobs)
            return
        pending: set[Future[Result]] = set()
        waiting = iter(jobs)
        while True:
            wanted = itertools.islice(waiting, width * JOBS_AHEAD - len(pending))
            pending |= {pool.submit(function, job) for job in wanted}
            if not pending:
                return
            done, pending = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                try:
                    yield future.result()
                except OSError as error:  # a job's own failures have kinds of their own
                    if cluster is None:
                        raise
                    raise WorkerDied(
                        f"{cluster} was lost: {error}. What was finished is kept; the same command goes on"
                    ) from error
                except concurrent.futures.process.BrokenProcessPool as error:
                    raise WorkerDied(
                        "a worker process died: killed for lack of memory, or crashed on a file. What was finished is "
                        "kept: the same command goes on; fewer --workers or --job-rows take less memory"
                    ) from error
