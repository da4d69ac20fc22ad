"""The storage SCU: derived series go to the peer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import build_context
from pynetdicom.transport import AssociationSocket

from ctdenoise.derived.dataset import IMPLEMENTATION_CLASS_UID
from ctdenoise.pacs.objects import DUPLICATE_INSTANCE, IMPLEMENTATION_VERSION
from ctdenoise.pacs.settings import Peer

_ANSWER_SECONDS = 120.0
"""How long a peer may take over an object: some write it to a tape."""

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_BROKEN_OFF = "BrokenOff"
_UNREADABLE = "Unreadable"
_TRANSIENT = 2
"""What a peer calls its rejection of an association if it may be asked again."""

_Encoding = tuple[UID, UID]
"""SOP class and transfer syntax."""


@dataclass(frozen=True)
class NotSent:
    """Why some of a series was not sent; ``kind`` is a class of failure, for counting.

    ``blames_peer`` tells a peer that is away, which is no fault of the series; ``asked_peer``,
    whether it was called at all; ``ends``, that no more can be sent in the association.
    """

    reason: str
    kind: str
    blames_peer: bool = False
    asked_peer: bool = True
    ends: bool = False


class Sender:
    """Sends files as they are, if the peer takes their transfer syntax; else uncompressed."""

    def __init__(self, aet: str, peer: Peer) -> None:
        # Without it, each file would be decoded and encoded again.
        _config.STORE_SEND_CHUNKED_DATASET = True
        self._peer = peer
        self._association: Association | None = None
        self._ae = AE(aet)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION
        self._ae.connection_timeout = 10
        self._ae.dimse_timeout = self._ae.network_timeout = _ANSWER_SECONDS

    def send(
        self, files: Sequence[Path], sent: Callable[[Path], None], stop: threading.Event
    ) -> NotSent | None:
        """Send files in one association, until ``stop``.

        Args:
            files: DICOM files.
            sent: is called for each that the peer has accepted.
            stop: what is not sent when it is set stays unsent.

        Returns:
            Why some were not sent; None if there was no problem.
        """
        encodings, refused = _encodings(files)
        if not encodings:
            return replace(_together(refused), asked_peer=False) if refused else None
        try:
            association = self._associate(set(encodings.values()))
        except OSError as error:
            return _away(f"cannot be reached: {error.strerror or error}", type(error).__name__)
        if isinstance(association, NotSent):
            return association
        self._association = association
        ended = False
        try:
            for place, (path, encoding) in enumerate(encodings.items()):
                if stop.is_set():
                    break
                problem = _send(association, path, encoding, place % 2**16)
                if problem is None:
                    sent(path)
                    continue
                refused.append(problem)
                ended = problem.ends
                if ended:
                    break
        finally:
            self._association = None
            # That it was broken off is not known yet everywhere in it.
            if ended:
                association.abort(block=False)
            else:
                association.release()
        return _together(refused) if refused else None

    def abort(self) -> None:
        """Wait no longer for an answer of the peer; from another thread."""
        association = self._association
        if association is not None:
            # What is put there when a peer has ended the association. An abort from here would
            # not be told to the thread that waits.
            association.dimse.msg_queue.put((None, None))

    def _associate(self, encodings: set[_Encoding]) -> Association | NotSent:
        # Everybody knows implicit little endian, and must offer it: PS3.5 section 10.1.
        plain = {(sop_class, syntax) for sop_class, _ in encodings for syntax in _PLAIN}
        association = self._ae.associate(
            self._peer.host,
            self._peer.port,
            contexts=[build_context(*encoding) for encoding in sorted(encodings | plain)],
            ae_title=self._peer.aet,
            evt_handlers=[(evt.EVT_CONN_OPEN, _set_up)],
        )
        if association.is_established:
            return association
        answer = association.acceptor.primitive
        if not isinstance(answer, A_ASSOCIATE):
            return _away("cannot be reached", "Unreachable")
        if answer.result == 0:
            return NotSent("takes none of our presentation contexts", "NoContext")
        reason = f"rejects the association: {answer.reason_str}"
        kind = f"Rejected-{answer.result}-{answer.result_source}-{answer.diagnostic}"
        return _away(reason, kind) if answer.result == _TRANSIENT else NotSent(reason, kind)


def _set_up(event: Event) -> None:
    """Have a connection that neither waits with what is to be sent, nor for ever."""
    connection = cast(AssociationSocket, event.assoc.dul.socket).socket
    if connection is not None:
        connection.settimeout(_ANSWER_SECONDS)
        # TCP would hold the end of each object back for what may follow.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _encodings(files: Sequence[Path]) -> tuple[dict[Path, _Encoding], list[NotSent]]:
    """The encoding of each file that can be read, and why the others cannot."""
    encodings: dict[Path, _Encoding] = {}
    problems = []
    for path in files:
        try:
            meta = read_file_meta_info(path)
            encodings[path] = (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
        except Exception as error:  # what is no DICOM fails in many ways
            problems.append(_unreadable(error))
    return encodings, problems


def _send(
    association: Association, path: Path, encoding: _Encoding, message: int
) -> NotSent | None:
    as_it_is = any(
        (cx.abstract_syntax, cx.transfer_syntax[0]) == encoding
        for cx in association.accepted_contexts
    )
    try:
        content = path if as_it_is else _plain(path)
    except Exception as error:  # decoders fail in many ways
        return _unreadable(error)
    try:
        answer = association.send_c_store(content, msg_id=message)
    except ValueError:
        return NotSent("no presentation context for them", "NoContext")
    except RuntimeError:  # it ended before the object was begun
        return NotSent("the association was broken off", _BROKEN_OFF, ends=True)
    except Exception as error:  # the file, of which some may have been sent already
        return replace(_unreadable(error), ends=True)
    if "Status" not in answer:
        reason = "the association was broken off, or there was no answer"
        return NotSent(reason, _BROKEN_OFF, ends=True)
    # A warning tells that it was stored with a change: DICOM PS3.4 annex B.2.3. The same object
    # always has the same UID: what the peer has already was sent, and its answer lost.
    if answer.Status in (0x0000, DUPLICATE_INSTANCE) or answer.Status >> 12 == 0xB:
        return None
    return NotSent(f"refused with status {answer.Status:04X}", f"{answer.Status:04X}")


def _plain(path: Path) -> pydicom.Dataset:
    """An object without compression."""
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress(generate_instance_uid=False)
    return dataset


def _together(problems: Sequence[NotSent]) -> NotSent:
    return NotSent(f"{len(problems)} objects: {problems[0].reason}", problems[0].kind)


def _unreadable(error: Exception) -> NotSent:
    said = (isinstance(error, OSError) and error.strerror) or type(error).__name__
    return NotSent(f"cannot be read from the spool: {said}", _UNREADABLE)


def _away(reason: str, kind: str) -> NotSent:
    return NotSent(reason, kind, blames_peer=True)
