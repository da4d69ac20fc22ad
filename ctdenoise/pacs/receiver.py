"""The storage SCP: CT of those who may call is put on the disk, and only then acknowledged."""

from __future__ import annotations

import logging
import socket
import threading
import time
import weakref
from io import BytesIO
from socketserver import TCPServer
from typing import cast

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from ctdenoise.derived.dataset import IMPLEMENTATION_CLASS_UID
from ctdenoise.errors import CTDenoiseError
from ctdenoise.pacs.arrivals import Arrivals
from ctdenoise.pacs.counters import Counters
from ctdenoise.pacs.objects import (
    DUPLICATE_INSTANCE,
    IMPLEMENTATION_VERSION,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    RefusedError,
    examine,
    transfer_syntaxes,
)
from ctdenoise.pacs.settings import ANY, NodeSettings
from ctdenoise.pacs.spool import DuplicateError, Spool
from ctdenoise.series.dicom import CT_STORAGE

LOG = logging.getLogger(__name__)

_PDU_BYTES = 128 * 1024
"""What a peer may send at once; long ones need fewer turns."""

_LONGEST_PDU = 16 * 2**20
"""Beyond it a length is an attack, not a peer that does not keep to what was agreed."""

_MOST_REJECTED = 20
"""Connections beyond the limit that still get an answer; more are closed without one."""

_NEGOTIATION_SECONDS = 10
_FEW = 3


class Receiver:
    """Listens for associations; each has a thread of its own.

    Raises:
        CTDenoiseError: the port cannot be had, or nobody may call.
    """

    def __init__(self, settings: NodeSettings, spool: Spool, counters: Counters) -> None:
        if not settings.allow:  # which would mean everybody to what is below
            raise CTDenoiseError("nobody may call: name AE titles, or '*' for everybody")
        self.arrivals = Arrivals(settings.quiet_time)
        self._settings = settings
        self._spool = spool
        self._counters = counters
        self._stored: weakref.WeakKeyDictionary[Association, int] = weakref.WeakKeyDictionary()
        self._lengths: weakref.WeakKeyDictionary[Association, int] = weakref.WeakKeyDictionary()
        # Its own lines name patients, and say more than one.
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        self._ae = self._application_entity()
        handlers: list[EventHandlerType] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_OPEN, self._limit_connection),
            (evt.EVT_PDU_RECV, self._limit_object),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_RELEASED, self._ended),
            (evt.EVT_ABORTED, self._ended),
        ]
        try:
            self._server = self._ae.make_server(
                (settings.host, settings.port), evt_handlers=handlers, server_class=_Server
            )
        except OSError as error:
            where = f"{settings.host or 'all addresses'}, port {settings.port}"
            raise CTDenoiseError(f"{where}: cannot listen: {error.strerror or error}") from None
        self._listening = threading.Thread(
            target=self._server.serve_forever, name="listening", daemon=True
        )
        self._listening.start()

    @property
    def is_listening(self) -> bool:
        """Whether associations can be had."""
        return self._listening.is_alive()

    @property
    def open_associations(self) -> int:
        """How many there are now."""
        return len(self._ae.active_associations)

    def stop(self, grace: float) -> None:
        """Accept no more associations; those that are open have ``grace`` seconds to end."""
        self._server.shutdown()
        until = time.monotonic() + grace
        while any(one.is_established for one in self._ae.active_associations):
            if time.monotonic() > until:
                break
            time.sleep(0.05)
        for association in self._ae.active_associations:
            if association.is_established:
                association.abort()
            else:  # a connection that has asked for nothing cannot be aborted
                cast(AssociationSocket, association.dul.socket).close()

    def _application_entity(self) -> AE:
        settings = self._settings
        ae = AE(settings.aet)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION
        ae.require_called_aet = True
        ae.require_calling_aet = [] if ANY in settings.allow else sorted(settings.allow)
        ae.maximum_associations = settings.max_associations
        ae.maximum_pdu_size = _PDU_BYTES
        ae.network_timeout = settings.idle_time
        ae.acse_timeout = _NEGOTIATION_SECONDS
        ae.add_supported_context(Verification)
        for sop_class in sorted(CT_STORAGE):
            ae.add_supported_context(sop_class, transfer_syntaxes())
        return ae

    def _store(self, event: Event) -> int | Dataset:
        try:
            new = self._receive(event)
        except RefusedError as refused:
            return self._refuse(event, refused)
        except DuplicateError:
            comment = "another object has this SOP Instance UID"
            return self._refuse(event, RefusedError(DUPLICATE_INSTANCE, comment))
        except OSError as error:
            comment = f"cannot be stored: {error.strerror}"
            return self._refuse(event, RefusedError(OUT_OF_RESOURCES, comment))
        except Exception as error:  # a fault of ours is an answer, not the end of the association
            LOG.debug("receiving", exc_info=True)
            comment = f"unexpected {type(error).__name__}"
            return self._refuse(event, RefusedError(PROCESSING_FAILURE, comment))
        self._counters.add("received" if new else "received_again")
        self._stored[event.assoc] = self._stored.get(event.assoc, 0) + 1
        return 0x0000

    def _receive(self, event: Event) -> bool:
        request = cast(C_STORE, event.request)
        data = cast(BytesIO, request.DataSet)
        free = self._spool.free_bytes() - data.getbuffer().nbytes
        if free < self._settings.min_free_bytes:
            raise RefusedError(OUT_OF_RESOURCES, "the disk is full")
        received = examine(
            data,
            sop_class=cast(UID, request.AffectedSOPClassUID),
            instance=cast(UID, request.AffectedSOPInstanceUID),
            syntax=UID(event.context.transfer_syntax),
            most_bytes=self._settings.max_object_bytes,
        )
        self.arrivals.note(received.series, event.assoc)
        new = self._spool.store(received.series, received.instance, received.parts)
        self.arrivals.note(received.series, event.assoc)
        return new

    def _refuse(self, event: Event, refused: RefusedError) -> Dataset:
        self._counters.add("refused", status=f"{refused.status:04X}")
        LOG.warning(
            "object %s from %s refused: %04X, %s",
            _printable(cast(C_STORE, event.request).AffectedSOPInstanceUID),
            _caller(event),
            refused.status,
            refused.comment,
        )
        answer = Dataset()
        answer.Status = refused.status
        answer.ErrorComment = refused.comment
        return answer

    def _limit_connection(self, event: Event) -> None:
        """Not without an end: connections, a length that a peer says, and waiting for it."""
        connection = cast(AssociationSocket, event.assoc.dul.socket)
        if self.open_associations > self._settings.max_associations + _MOST_REJECTED:
            self._counters.add("associations_rejected", reason="flood")
            connection.close()
            return
        cast(socket.socket, connection.socket).settimeout(self._settings.idle_time)
        read = connection.recv

        def recv(count: int) -> bytearray:
            if count > _LONGEST_PDU:
                raise OSError("a PDU longer than any that was agreed on")
            return read(count)

        connection.recv = recv  # type: ignore[method-assign,assignment]

    def _limit_object(self, event: Event) -> None:
        """Of what is too large, no more is kept in memory than it takes to tell."""
        pdu = event.pdu
        if not isinstance(pdu, P_DATA_TF):
            return
        length = self._lengths.get(event.assoc, 0)
        for item in pdu.presentation_data_value_items:
            control = cast(bytes, item.presentation_data_value)[:1]
            if control[0] & 1:  # of a command, which comes before each object
                length = 0
            elif length > self._settings.max_object_bytes:
                item.presentation_data_value = control
            else:
                length += len(cast(bytes, item.presentation_data_value)) - 1
        self._lengths[event.assoc] = length

    def _accepted(self, event: Event) -> None:
        self._counters.add("associations")
        taken = {cx.abstract_syntax for cx in event.assoc.accepted_contexts}
        others = {UID(str(cx.abstract_syntax)).name for cx in event.assoc.rejected_contexts}
        # Archives offer all that there is, whatever they are about to send.
        if others and (len(others) <= _FEW or not taken & CT_STORAGE):
            names = sorted(_printable(name) for name in others)
            more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
            LOG.warning("not taken from %s: %s%s", _caller(event), ", ".join(names[:_FEW]), more)

    def _rejected(self, event: Event) -> None:
        called = str(cast(A_ASSOCIATE, event.assoc.requestor.primitive).called_ae_title).strip()
        allowed = self._ae.require_calling_aet
        if self.open_associations > self._settings.max_associations:
            reason, said = "limit", f"{self._settings.max_associations} are open"
        elif called != self._settings.aet:
            reason, said = "called", f"it calls {_printable(called)}, which is not our AE title"
        elif allowed and event.assoc.requestor.ae_title not in allowed:
            reason, said = "calling", "its AE title may not call (--allow)"
        else:
            reason, said = "other", "as negotiated"
        self._counters.add("associations_rejected", reason=reason)
        LOG.warning("association from %s rejected: %s", _caller(event), said)

    def _ended(self, event: Event) -> None:
        stored = self._stored.pop(event.assoc, 0)
        if event.event == evt.EVT_ABORTED:
            self._counters.add("associations_aborted")
            LOG.warning(
                "association from %s broken off; %d objects of it are kept", _caller(event), stored
            )
        elif stored:
            LOG.info("%d objects from %s", stored, _caller(event))


class _Server(ThreadedAssociationServer):
    def shutdown(self) -> None:
        """As above, without a list that only the threads of the library are in."""
        TCPServer.shutdown(self)
        self.server_close()


def _caller(event: Event) -> str:
    requestor = event.assoc.requestor
    return f"{_printable(requestor.ae_title)} at {requestor.address}"


def _printable(text: object) -> str:
    """What a peer said, so that it cannot make lines of its own."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in str(text))[:64]
