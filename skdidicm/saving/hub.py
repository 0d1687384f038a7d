"""Models on the Hugging Face Hub: a repository holds the model file and a card."""

from pathlib import Path
from typing import Any

from skdidicm.errors import reason
from skdidicm.saving.run_folder import MODEL

CARD = "README.md"
_LIBRARY = "skdidicm"


def find_pretrained(name: str | Path, **options: Any) -> Path:
    """Return the model file of a local folder, or else of a repository of the Hub.

    Parameters
    ----------
    name : str or Path
        A folder, or the name of a repository such as "user/model".
    **options
        Of `huggingface_hub.hf_hub_download`, such as `revision` and `token`.

    Raises
    ------
    FileNotFoundError
        If neither can be had; the message has the reason.
    ImportError
        If a repository is asked for and huggingface_hub is not installed.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / MODEL).is_file():
            raise FileNotFoundError(
                f"{folder} has no {MODEL}; expected a folder that save_pretrained wrote."
            )
        return folder / MODEL
    hub = _huggingface_hub()
    try:
        return Path(hub.hf_hub_download(str(name), MODEL, library_name=_LIBRARY, **options))
    except (OSError, ValueError) as error:  # of the network, the Hub, its cache or the name
        raise FileNotFoundError(
            f"{str(name)!r} is no folder, and {MODEL} cannot be had from a repository of that name "
            f"({reason(error)}); expected a folder or 'user/model', and for private ones a token."
        ) from error


def publish(folder: Path, repo_id: str, *, private: bool | None, token: Any, message: str) -> str:
    """Upload the files of a folder as one commit, and return its address.

    The repository is created if necessary. A card that is already there stays; one in the folder
    gets the full name of a repository that was given without its user.
    """
    hub = _huggingface_hub()
    api = hub.HfApi(token=token, library_name=_LIBRARY)
    given, card = repo_id, folder / CARD
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        text = card.read_text(encoding="utf-8")
        named = text.replace(f"from_pretrained({given!r})", f"from_pretrained({repo_id!r})")
        card.write_text(named, encoding="utf-8")
        kept = [CARD] if api.file_exists(repo_id, CARD) else None
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message=message, ignore_patterns=kept
        )
    except Exception as error:  # without a connection, one of the HTTP library's own
        raise OSError(
            f"the model cannot be uploaded to {repo_id!r} ({reason(error)}); expected a name "
            "'user/model' and a token that may write, as `hf auth login` stores."
        ) from error
    return str(commit.commit_url)


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "the Hugging Face Hub needs huggingface_hub, which is not installed; install it with: "
            'pip install "skdidicm[hub]"'
        ) from error
    return huggingface_hub
