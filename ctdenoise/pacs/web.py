"""Retrieve series from a PACS that speaks DICOMweb (WADO-RS, DICOM PS3.18 section 10.4)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydicom import Dataset

from ctdenoise.derived.atomic import create_folder
from ctdenoise.errors import CTDenoiseError
from ctdenoise.pacs.names import digest
from ctdenoise.temporary import RETRIEVED, not_writable, temporary_folder

_SCHEMES = ("dicomweb+http", "dicomweb+https")
_TOKEN = "CTDENOISE_DICOMWEB_TOKEN"
_RESOURCE = re.compile(r"(?P<base>.*)/studies/(?P<study>[0-9.]+)(/series/(?P<series>[0-9.]+))?/?")
_SECONDS = (10.0, 300.0)
"""To connect, and for the next bytes: some servers decompress a series before they begin."""

_AS_STORED = (("application/dicom", "*"),)
"""In the transfer syntax that the server has: nothing is recompressed on the way."""

_SAYS = {
    401: f"not authorised: set {_TOKEN}, or a user and password in the URL",
    403: "not allowed with these credentials",
    404: "no such study or series, or no DICOMweb service there",
}

_PARTIAL_CONTENT = 206
"""The server could not send all: DICOM PS3.18 section 10.4.3.2."""


@dataclass(frozen=True)
class _Source:
    """A study or a series, and where it is; credentials are kept out of what is printed."""

    base: str
    study: str
    series: str | None
    login: tuple[str, str] | None = field(repr=False)


def is_url(text: str) -> bool:
    """Whether an input is meant for a URL, which may hold a password, not for a file."""
    return "://" in text


def uids_of(url: str) -> dict[str, str]:
    """The UIDs that a URL names: ``study_uid``, and ``series_uid`` if it is of one series.

    Raises:
        CTDenoiseError: the URL names no study or series.
    """
    source = _parse(url)
    uids = {"study_uid": source.study}
    return uids if source.series is None else {**uids, "series_uid": source.series}


@contextmanager
def fetched(url: str, output: Path) -> Iterator[Path]:
    """A folder below ``output`` with what :func:`fetch` retrieves, for as long as it is used.

    What killed runs have left there is removed.

    Raises:
        CTDenoiseError: as :func:`fetch`, or the output folder cannot be written.
    """
    create_folder(output)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(output, RETRIEVED))
        except OSError as error:
            raise not_writable(error) from None
        fetch(url, folder)
        yield folder


def fetch(url: str, folder: Path) -> None:
    """Retrieve a study, or one series of it, into a folder, a file for each object.

    A bearer token is taken from the environment variable ``CTDENOISE_DICOMWEB_TOKEN``, a user
    and password from the URL; neither is printed.

    Args:
        url: ``dicomweb+http(s)://HOST/ROOT/studies/UID[/series/UID]``.
        folder: where the files go; it must be there.

    Raises:
        CTDenoiseError: the URL is none, the service cannot be reached or refuses, what it sends
            is damaged, or the packages for it are not installed.
    """
    source = _parse(url)
    try:
        import requests
        from dicomweb_client import DICOMwebClient
    except ModuleNotFoundError as error:
        raise CTDenoiseError(
            f"DICOMweb needs more packages ({error.name}): pip install 'ctdenoise[pacs]'"
        ) from None

    with requests.Session() as session:
        session.auth = _authorisation(source)
        statuses: list[int] = []
        session.hooks["response"].append(lambda answer, **_: statuses.append(answer.status_code))
        client = DICOMwebClient(source.base, session=session, timeout=_SECONDS, permissive_uid=True)
        # It would try for half a minute what a user has mistyped.
        client.set_http_retry_params(retry=False)
        try:
            objects = _objects(client, source)
            count = sum(1 for dataset in objects if _save(dataset, folder))
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            raise _problem(
                source, _SAYS.get(status, f"answers with HTTP status {status}")
            ) from None
        except requests.exceptions.SSLError:
            raise _problem(source, "its certificate is not trusted") from None
        except requests.Timeout:
            raise _problem(source, "gives no answer") from None
        except requests.exceptions.ChunkedEncodingError:
            raise _problem(source, "the connection was broken off") from None
        except requests.RequestException:
            raise _problem(source, "cannot be reached") from None
        except OSError as error:
            raise not_writable(error) from None
        except Exception as error:  # what is no DICOM fails in many ways
            said = f"sends what cannot be read ({type(error).__name__})"
            raise _problem(source, said) from None
    if _PARTIAL_CONTENT in statuses:
        raise _problem(source, "sends only a part of that study or series")
    if count == 0:
        raise _problem(source, "sends no objects of that study or series")


def _parse(url: str) -> _Source:
    try:
        parts = urlsplit(url.strip())
        found = _RESOURCE.fullmatch(parts.path)
        host, port = parts.hostname, parts.port
    except ValueError:  # no such port
        found = host = port = None
    if not (found and host) or parts.scheme not in _SCHEMES or parts.query or parts.fragment:
        raise CTDenoiseError(
            "no study or series of a DICOMweb service: "
            "give dicomweb+https://HOST/dicom-web/studies/UID/series/UID"
        )
    address = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return _Source(
        base=f"{parts.scheme.removeprefix('dicomweb+')}://{address}{found['base']}",
        study=found["study"],
        series=found["series"],
        login=(unquote(parts.username), unquote(parts.password or "")) if parts.username else None,
    )


def _authorisation(source: _Source) -> Callable[[Any], Any] | tuple[str, str] | None:
    token = os.environ.get(_TOKEN)
    if not token:
        return source.login

    # As a header of the session it would give way to an entry of ~/.netrc.
    def bear(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return bear


def _objects(client: Any, source: _Source) -> Iterator[Dataset]:
    """The objects one by one: a study may be larger than the memory."""
    found: Iterator[Dataset] = (
        client.iter_study(source.study, media_types=_AS_STORED)
        if source.series is None
        else client.iter_series(source.study, source.series, media_types=_AS_STORED)
    )
    return found


def _save(dataset: Dataset, folder: Path) -> bool:
    """Write an object; its name is a digest, for what a server says is no path."""
    dataset.save_as(folder / f"{digest(str(dataset.SOPInstanceUID))}.dcm")
    return True


def _problem(source: _Source, what: str) -> CTDenoiseError:
    return CTDenoiseError(f"{source.base}: {what}")
