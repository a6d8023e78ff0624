"""The node's port: C-ECHO and C-STORE of CT images, each written to disk before it is acknowledged (PS3.4 B.2.3)."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from bioatt.core.errors import InputError
from bioatt.core.provenance import DERIVED_MARK
from bioatt.io.dicom.kinds import CT_IMAGE, ENHANCED
from bioatt.service.node.audit import Audit
from bioatt.service.node.settings import Listen, server_tls
from bioatt.service.node.spool import Spool, hashed

# these libraries' warnings quote header values and thus the patient; our own messages go to the node's log
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE

TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit VR little endian
    "1.2.840.10008.1.2",  # implicit VR little endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first order
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
)
"""Transfer syntaxes that the engine can read and derive from; peers must convert others (big-endian, HTJ2K)."""
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_LARGEST_PDU = 1 << 20
_LARGEST_OBJECT = 1 << 30
_TAGS = [
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
    "SeriesDescription", "DerivationDescription", "ContributingEquipmentSequence",
]  # fmt: skip


class Receiver:
    """Receives images into a spool until `stop`. Raises InputError if it cannot listen."""

    def __init__(self, listen: Listen, spool: Spool, audit: Audit) -> None:
        self._spool, self._audit = spool, audit
        entity = AE(listen.ae_title)
        entity.maximum_pdu_size = 1 << 17
        entity.maximum_associations = listen.associations
        entity.require_called_aet = True
        entity.require_calling_aet = list(listen.calling_ae_titles)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = listen.timeout_s
        entity.add_supported_context(Verification)
        for storage in (CT_IMAGE, *ENHANCED):
            entity.add_supported_context(storage, list(TRANSFER_SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_ABORTED, self._aborted),
        ]
        try:
            server: Any = entity.make_server(
                (listen.address, listen.port),
                ssl_context=server_tls(listen.tls) if listen.tls else None,
                evt_handlers=handlers,
                server_class=_Server,
                request_handler=_Connection,
            )
        except OSError as error:
            raise InputError(
                f"the node cannot listen on {listen.address} port {listen.port} ({error.strerror}): choose another"
            ) from None
        server.allowed, server.timeout_s, server.audit = listen.addresses, listen.timeout_s, audit
        entity._servers.append(server)
        self._server = server
        threading.Thread(target=server.serve_forever, name="receiver", daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()

    def _echo(self, event: evt.Event) -> int:
        _socket_of(event).taken = 0
        return SUCCESS

    def _store(self, event: evt.Event) -> int:
        _socket_of(event).taken = 0
        peer = _peer(event.assoc)
        request: Any = event.request
        data = request.DataSet.getbuffer()
        try:
            if not self._spool.has_room(len(data)):
                return self._refused(peer, "no room")
            with self._spool.temporary() as file:
                content = _write(file, event.file_meta, data)
                header = _header(file)
                if header is None:
                    self._audit("not understood", **peer)
                    return CANNOT_UNDERSTAND
                study, series, image = (str(header.get(name) or "") for name in _TAGS[:3])
                if is_ours(header):
                    self._audit("own image left out", study=hashed(study), image=hashed(image), **peer)
                    return SUCCESS
                new = self._spool.add(file, study, series, image, content)
        except OSError as error:
            return self._refused(peer, error.strerror or type(error).__name__)
        self._audit("received" if new else "received again", study=hashed(study), image=hashed(image), **peer)
        return SUCCESS

    def _refused(self, peer: dict[str, str], reason: str) -> int:
        self._audit("refused", reason=reason, **peer)
        return OUT_OF_RESOURCES

    def _rejected(self, event: evt.Event) -> None:
        self._audit("association rejected", **_peer(event.assoc))

    def _aborted(self, event: evt.Event) -> None:
        self._audit("association aborted", **_peer(event.assoc))


def is_ours(header: Dataset) -> bool:
    """Whether this program derived an image, by any of three marks, since archives drop or shorten some."""
    makers = (str(item.get("Manufacturer") or "") for item in header.get("ContributingEquipmentSequence") or ())
    return (
        "BioAttDenoise" in makers
        or DERIVED_MARK in str(header.get("SeriesDescription") or "")
        or "by BioAttDenoise " in str(header.get("DerivationDescription") or "")
    )


def _write(file: Path, meta: FileMetaDataset, data: memoryview) -> str:
    """Write an image as a DICOM file (PS3.10 7) and sync it. Returns a hash of its transfer syntax and data."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(DicomIO(stream), meta)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    digest = hashlib.sha256(str(meta.TransferSyntaxUID).encode())
    digest.update(data)
    return digest.hexdigest()


def _header(file: Path) -> Dataset | None:
    """The UIDs of an image and our marks; None if UIDs are missing or it is not a data set."""
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    except OSError:
        raise
    except Exception:  # garbage can make pydicom's readers raise anything
        return None
    return header if all(header.get(name) for name in _TAGS[:3]) else None


def _peer(association: Association) -> dict[str, str]:
    requestor = association.requestor
    return {"ae_title": requestor.ae_title.strip(), "address": str(requestor.address)}


def _socket_of(event: evt.Event) -> _Socket:
    return event.assoc.dul.socket  # type: ignore[return-value]


class _Socket(AssociationSocket):
    """Ends the connection if a peer announces more than fits, sends an endless object, or sends a PDU too slowly."""

    taken = 0
    timeout_s = 30.0

    def recv(self, nr_bytes: int) -> bytearray:
        """Receive bytes. Raises OSError, on which pynetdicom ends the association."""
        self.taken += nr_bytes
        if nr_bytes > _LARGEST_PDU or self.taken > _LARGEST_OBJECT:
            raise OSError("more than fits")
        received, until = bytearray(), time.monotonic() + self.timeout_s
        while len(received) < nr_bytes:
            if time.monotonic() > until:
                raise TimeoutError("too slow")
            part = self.socket.recv(min(nr_bytes - len(received), 1 << 16))  # type: ignore[union-attr]
            if not part:
                break
            received += part
        return received


class _Connection(RequestHandler):
    def _create_association(self) -> Association:
        association = super()._create_association()
        socket: Any = association.dul.socket
        socket.__class__ = _Socket  # pynetdicom creates its own and accepts no other
        socket.timeout_s = self.server.timeout_s  # type: ignore[attr-defined]
        receive = association.dimse.receive_primitive

        def receive_or_abort(primitive: Any) -> None:
            """A message that pynetdicom cannot decode would end its thread and leave the association open."""
            try:
                receive(primitive)
            except Exception:
                association.dul.event_queue.put("Evt19")  # an invalid PDU (PS3.8 9.2.3)

        association.dimse.receive_primitive = receive_or_abort  # type: ignore[method-assign]
        return association


class _Server(ThreadedAssociationServer):
    """Closes connections from other addresses, and excess connections that have not yet requested an association."""

    allowed: tuple[Any, ...] = ()
    timeout_s = 30.0
    audit: Audit
    request_queue_size = 128

    def get_request(self) -> Any:
        """As in pynetdicom, but without the TLS handshake, in which a silent peer would block all others."""
        connection, address = self.socket.accept()  # type: ignore[union-attr]
        connection.settimeout(self.timeout_s)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Called for each connection before anything is read from it."""
        address = ipaddress.ip_address(client_address[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        known = not self.allowed or any((mapped or address) in network for network in self.allowed)
        if not known or len(self.active_associations) >= 4 * self.ae.maximum_associations:
            self.audit("connection refused", address=str(address))
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the error; socketserver's default prints a traceback."""
        self.audit("connection failed", address=str(client_address[0]))
