"""A public set from its source: every file checked against its SHA-256 before anything is kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from crowdjax.datasets.raw import PARSERS, Rows
from crowdjax.datasets.registry import Entry, File
from crowdjax.extras import needed
from crowdjax.labels import one_line

SOURCE = "https://raw.githubusercontent.com"
VARIABLE = "CROWDJAX_SOURCE"  # a mirror: the same paths under another address
TIMEOUT = 30.0  # seconds without a response


class DownloadError(RuntimeError):
    """Exception for a failed download; the message says what happened."""


def fetch(name: str, entry: Entry) -> Rows:
    """Download the judgements and truths of a public set.

    Raises:
        InputError: the extra ``download`` is not installed.
        DownloadError: the source cannot be reached, breaks off or sends something else.
    """
    with needed(f"data set {name}, which is to be fetched"):
        import pooch
        import requests  # noqa: F401 what pooch fetches with
        import yaml  # noqa: F401 what some sets are written in
    pooch.get_logger().setLevel("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        for file in entry.files:
            address = f"{os.environ.get(VARIABLE) or SOURCE}/{entry.repository}/{entry.commit}/{file.path}"
            _retrieve(pooch, name, address, file, folder)
        return PARSERS[name](Path(folder))


def _retrieve(pooch, name: str, address: str, file: File, folder: str) -> None:
    from requests import exceptions  # pooch fetches with requests

    fetcher = pooch.HTTPDownloader(timeout=TIMEOUT)
    try:
        pooch.retrieve(address, f"sha256:{file.sha256}", fname=file.name, path=folder, downloader=fetcher)
        return
    except exceptions.Timeout:
        reason = f"no response within {TIMEOUT:g} seconds"
    except (exceptions.ChunkedEncodingError, exceptions.ContentDecodingError):
        reason = "the transfer broke off"
    except exceptions.HTTPError as error:
        reason = f"{error.response.status_code} {error.response.reason}"
    except exceptions.ConnectionError as error:
        reason = "the transfer broke off" if "Read timed out" in str(error) else "cannot be reached"
    except ValueError as error:
        reason = "not the file that is on record (SHA-256 differs)" if "hash" in str(error) else one_line(error)
    except OSError as error:
        reason = one_line(error)
    raise DownloadError(f"data set {name}: {address}: {reason}")
