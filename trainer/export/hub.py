"""Uploads an exported folder to the Hugging Face hub, in one commit. Knows nothing of models."""

import os
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..config.reading import ConfigError
from ..errors import ExportError


def check_repository(name: str) -> None:
    """Raises: ConfigError: if ``name`` is not OWNER/NAME."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        owner = None
    else:
        owner = name.rpartition("/")[0]
    if not owner:
        raise ConfigError(f"--push-to-hub is {name!r}; it must be OWNER/NAME, such as my-team/whisper-small-az")


def push(folder: Path, repository: str, private: bool) -> str:
    """Create the repository if there is none, and upload the folder; uses ``HF_ENDPOINT`` and ``HF_TOKEN``.

    Returns the repository's address.

    Raises:
        ExportError: if the hub refuses or cannot be reached, or the repository should be private and is public already.
    """
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        # None rather than False: an organisation may have made private its default.
        address = api.create_repo(repository, private=private or None, exist_ok=True)
        is_public = private and not api.model_info(repository).private
        if not is_public:
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export with launch/export.py")
    except Exception as error:  # httpx, the hub and the operating system each raise their own
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            reason += " (HF_TOKEN must be that of an account that may write there)"
        raise ExportError(f"{repository} was not sent: {reason}; the folder is at {folder}") from error
    if is_public:
        raise ExportError(f"{repository} exists and is public, so nothing was sent; the folder is at {folder}")
    return str(address)
