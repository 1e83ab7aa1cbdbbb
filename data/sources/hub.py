"""Requests to the Hugging Face hub, repeated after passing failures; its libraries repeat downloads themselves."""

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .. import storage
from ..audio.decoding import one_line
from ..errors import DataError

LIBRARY_SECONDS = 10.0  # a request that fails after so long was repeated by the library itself

Result = TypeVar("Result")


def answered(question: Callable[[], Result], dataset: str, name: str) -> Result:
    """The result of a request to the hub.

    Args:
        dataset, name: the dataset and the config's key, for messages.

    Raises:
        DataError: where it has no such dataset, configuration, split or revision, or keeps failing.
    """

    def asked() -> Result:
        started = time.monotonic()
        try:
            return question()
        except Exception as error:  # the libraries raise many kinds; the reason is in the message
            if may_pass(error) and time.monotonic() - started < LIBRARY_SECONDS:
                raise ConnectionError(one_line(error)) from error
            raise DataError(f"{name}: cannot open hub dataset {dataset}: {reason(error)}") from error

    try:
        return storage.retried(asked, f"hf://datasets/{dataset}", "open")
    except storage.StorageError as error:
        raise DataError(f"{name}: {error}") from error


def may_pass(error: BaseException | None) -> bool:
    """Whether the hub or the network failed, so that repeating may help."""
    while error is not None and not is_offline():
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return status == 429 or status >= 500
        if isinstance(error, (ConnectionError, TimeoutError)):
            return True
        if type(error).__module__.split(".")[0] in storage.NETWORK_LIBRARIES:
            return True
        error = error.__cause__
    return False


def reason(error: Exception) -> str:
    """The error in one line."""
    from huggingface_hub.errors import RepositoryNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return "there is no such dataset, or HF_TOKEN does not let you see it"
    return one_line(error)


def commit_of(dataset: str, revision: str | None, name: str) -> str | None:
    """The commit that a revision is now; see :func:`answered`."""
    from huggingface_hub import HfApi

    return answered(lambda: HfApi().dataset_info(dataset, revision=revision).sha, dataset, name)


def open_stream(dataset: str, options: dict[str, Any], name: str) -> Any:
    """The dataset as `datasets` streams it; see :func:`answered`.

    Asks for the commit first, a request that only :func:`answered` repeats. The library repeats each of its own many
    requests five times, and :func:`answered` would repeat all of that.
    """
    import datasets

    if not os.path.isdir(dataset) and not is_offline():
        commit_of(dataset, options.get("revision"), name)
    return answered(lambda: datasets.load_dataset(dataset, **options, streaming=True), dataset, name)


def is_offline() -> bool:
    """Whether the environment says that there is no hub, to all its libraries or to `datasets` alone."""
    from huggingface_hub import constants

    of_datasets = os.environ.get("HF_DATASETS_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return bool(constants.HF_HUB_OFFLINE) or of_datasets
