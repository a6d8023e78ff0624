"""What the node's port accepts, from whom, and how it withstands misbehaving peers."""

from __future__ import annotations

import socket
import stat
import struct
import threading
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from pynetdicom import AE

from bioatt.service.node.settings import Destination, Tls, client_tls, read_settings
from bioatt.service.node.status import node_status

NEVER = {"quiet_s": 3600.0}
ECHO = "1.2.840.10008.1.1"


@pytest.fixture
def echo():
    def ask(port: int, called: str = "BIOATT", calling: str = "CT1", **options: object) -> bool:
        entity = AE(calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 10
        entity.add_requested_context(ECHO)
        association = entity.associate("127.0.0.1", port, ae_title=called, **options)
        if not association.is_established:
            return False
        answered = association.send_c_echo().get("Status") == 0
        association.release()
        return answered

    return ask


def stored(settings) -> list[Path]:
    return sorted((settings.spool / "incoming").rglob("*.dcm"))


SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_images_are_stored_as_they_were_encoded(ct, settings, run_node, send, syntax):
    given = settings(**NEVER)
    run_node(given)
    (image,) = ct(1)
    if syntax.is_encapsulated:
        image.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0\x01\x02\x03\x04"
        image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.file_meta.TransferSyntaxUID = syntax

    assert send([image], given.listen.port) == [0]

    (file,) = stored(given)
    kept = dcmread(file)
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.PixelData == image.PixelData
    assert kept.SOPInstanceUID == image.SOPInstanceUID


def test_big_endian_is_not_offered_so_that_peers_convert(ct, settings, run_node, send):
    given = settings(**NEVER)
    run_node(given)
    (image,) = ct(1)
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian

    assert send([image], given.listen.port) == []


def test_another_image_of_one_uid_replaces_none_and_a_copy_is_kept_once(ct, settings, run_node, send):
    given = settings(**NEVER)
    run_node(given)
    (image,) = ct(1)
    send([image, image], given.listen.port)
    assert len(stored(given)) == 1
    first = stored(given)[0].read_bytes()

    image.PixelData = bytes(len(image.PixelData))
    assert send([image], given.listen.port) == [0]

    assert len(stored(given)) == 2
    assert first in [file.read_bytes() for file in stored(given)]


@pytest.mark.parametrize("uid", ["../../../../escape", "/etc/passwd", "..", "1.2\\3", "1.2/3", "a" * 3000])
def test_no_text_of_a_header_becomes_a_path(ct, settings, run_node, send, tmp_path, uid):
    given = settings(**NEVER)
    run_node(given)
    images = ct(1, study=uid, SeriesInstanceUID=uid, PatientID=uid)
    if len(uid) < 64 and "\\" not in uid:  # the sender's own library refuses the others
        images[0].SOPInstanceUID = uid
    before = {path for path in tmp_path.rglob("*") if given.spool not in path.parents}

    assert send(images, given.listen.port) == [0]

    assert {path for path in tmp_path.rglob("*") if given.spool not in path.parents} == before
    assert all(set(file.stem) <= set("0123456789abcdef-") for file in stored(given))
    assert len(stored(given)) == 1


def test_an_image_without_identity_is_refused(ct, settings, run_node, send):
    given = settings(**NEVER)
    run_node(given)
    (image,) = ct(1)
    del image.StudyInstanceUID

    assert send([image], given.listen.port) == [0xC000]

    assert not stored(given)
    assert not list((given.spool / "temporary").iterdir())


def test_only_named_peers_that_name_this_node_are_let_in(settings, run_node, echo):
    given = settings(calling_ae_titles=("CT1",))
    run_node(given)

    assert echo(given.listen.port)
    assert not echo(given.listen.port, calling="OTHER")
    assert not echo(given.listen.port, called="OTHER")


def test_other_addresses_are_turned_away(tmp_path, settings, run_node, echo):
    text = 'spool = "s"\n[[destination]]\nname = "a"\nfolder = "."\n[listen]\naddresses = ["10.0.0.0/8"]\n'
    (tmp_path / "node.toml").write_text(text.replace('"."', '"/elsewhere"'))
    addresses = read_settings(tmp_path / "node.toml").listen.addresses
    given = settings(addresses=addresses)
    run_node(given)

    assert not echo(given.listen.port)


def test_associations_above_the_limit_are_rejected_and_later_ones_are_not(settings, run_node, echo, wait_until):
    given = settings(associations=2)
    run_node(given)
    entity = AE("CT1")
    entity.add_requested_context(ECHO)
    held = [entity.associate("127.0.0.1", given.listen.port, ae_title="BIOATT") for _ in range(2)]
    assert all(one.is_established for one in held)

    assert not echo(given.listen.port)

    for one in held:
        one.release()
    wait_until(lambda: echo(given.listen.port))


def test_files_and_folders_are_for_their_owner_only(ct, settings, run_node, send):
    given = settings(**NEVER)
    run_node(given)
    send(ct(1), given.listen.port)

    for path in (given.spool, *given.spool.rglob("*")):
        if path.name not in ("audit.jsonl", "node.lock"):
            assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path.name


def connect(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.settimeout(20)
    return peer


def request(port: int) -> socket.socket:
    """Open a hand-made association for CT Image Storage in explicit little endian; returns its socket."""
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
    from pynetdicom.presentation import build_context

    ask = A_ASSOCIATE()
    ask.application_context_name = "1.2.840.10008.3.1.1.1"
    ask.calling_ae_title, ask.called_ae_title = "CT1", "BIOATT"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16384, generate_uid()
    ask.user_information = [length, implementation]
    context = build_context("1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian)
    context.context_id = 1
    ask.presentation_context_definition_list = [context]
    peer = connect(port)
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(ask)
    peer.sendall(pdu.encode())
    assert peer.recv(4096)[0] == 0x02
    return peer


def dies(peer: socket.socket) -> bool:
    """Whether the peer closes or aborts the connection."""
    try:
        while True:
            if not peer.recv(4096):
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


GARBAGE = {
    "no pdu": b"GET / HTTP/1.1\r\n\r\n",
    "random": bytes(range(256)) * 4,
    "zeros": bytes(64),
    "4 GiB announced": struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + b"x" * 100,
    "associate of garbage": struct.pack(">BBL", 1, 0, 200) + b"\xff" * 200,
    "data before association": struct.pack(">BBL", 4, 0, 10) + b"\0" * 10,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_its_connection_alone(ct, settings, run_node, send, name):
    given = settings(timeout_s=1.0, **NEVER)
    run_node(given)
    peer = connect(given.listen.port)
    peer.sendall(GARBAGE[name])

    assert dies(peer)

    assert send(ct(1), given.listen.port) == [0]


@pytest.mark.parametrize(
    "pdu", [struct.pack(">BBL", 4, 0, 20) + b"\xff" * 20, struct.pack(">BBLLBB", 4, 0, 6, 2, 1, 3)]
)
def test_garbage_within_an_association_ends_it_alone(ct, settings, run_node, send, pdu):
    given = settings(timeout_s=1.0, **NEVER)
    run_node(given)
    peer = request(given.listen.port)
    peer.sendall(pdu)

    assert dies(peer)

    assert send(ct(1), given.listen.port) == [0]
    assert len(stored(given)) == 1


def test_peers_that_say_nothing_are_closed_and_keep_nobody_waiting(ct, settings, run_node, send):
    given = settings(timeout_s=1.0, associations=4, **NEVER)
    run_node(given)
    silent = [connect(given.listen.port) for _ in range(3)]
    halves = [request(given.listen.port)]

    assert send(ct(1), given.listen.port) != [None]

    assert all(dies(peer) for peer in silent + halves)
    assert send(ct(1), given.listen.port) == [0]


def test_a_peer_that_dribbles_is_closed(settings, run_node):
    given = settings(timeout_s=1.0, **NEVER)
    run_node(given)
    peer, ended = connect(given.listen.port), threading.Event()

    def dribble() -> None:
        try:
            peer.sendall(struct.pack(">BBL", 1, 0, 1000))
            while not ended.is_set():
                peer.sendall(b"\0")
                time.sleep(0.2)
        except OSError:
            pass

    threading.Thread(target=dribble, daemon=True).start()

    assert dies(peer)
    ended.set()


def test_half_an_image_is_not_kept(ct, settings, run_node, wait_until):
    given = settings(timeout_s=1.0, **NEVER)
    run_node(given)
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", given.listen.port, ae_title="BIOATT")
    sent = []
    original = association.dul.socket.send

    def cut(data: bytes) -> None:
        sent.append(data)
        original(data if len(sent) < 4 else data[:100])
        if len(sent) >= 4:
            association.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    association.dul.socket.send = cut
    association.send_c_store(ct(1, size=512)[0])

    assert not stored(given)
    assert not list((given.spool / "temporary").iterdir())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, generated by openssl."""
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=node",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return Tls(folder / "cert.pem", folder / "key.pem", folder / "cert.pem")


def test_tls_on_both_ways(ct, settings, run_node, send, certificates, archive, wait_until):
    from bioatt.service.node.settings import server_tls

    archive.start(ssl_context=server_tls(certificates))
    pacs = Destination("pacs", host="127.0.0.1", port=archive.port, ae_title="ARCHIVE", tls=certificates)
    given = settings((pacs,), tls=certificates)
    run_node(given)
    stranger = connect(given.listen.port)  # a handshake that never arrives must not block others

    statuses = send(ct(2), given.listen.port, tls_args=(client_tls(certificates), "127.0.0.1"))

    assert statuses == [0, 0]
    wait_until(lambda: len(archive.images) == 2)
    assert dies(stranger)


def test_without_a_certificate_nobody_is_let_in(settings, run_node, certificates, echo):
    given = settings(tls=certificates)
    run_node(given)

    assert not echo(given.listen.port)
    assert not echo(given.listen.port, tls_args=(client_tls(Tls(ca=certificates.ca)), "127.0.0.1"))
    assert echo(given.listen.port, tls_args=(client_tls(certificates), "127.0.0.1"))


def test_a_full_disk_is_told_and_nothing_is_left(ct, settings, run_node, send):
    import resource
    import signal

    given = settings(**NEVER)
    run_node(given)
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    big, small = ct(1, size=256), ct(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32768, old[1]))
    try:
        assert send([*big, *small], given.listen.port) == [0xA700, 0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)

    assert len(stored(given)) == 1
    assert not list((given.spool / "temporary").iterdir())
    assert send(big, given.listen.port) == [0]


def test_the_disk_is_not_filled_to_the_brim(ct, settings, run_node, send, monkeypatch):
    from dataclasses import replace

    given = replace(settings(**NEVER), free_mb=1 << 40)
    run_node(given)

    assert send(ct(1), given.listen.port) == [0xA700]
    assert node_status(given)["incoming"]["images"] == 0
