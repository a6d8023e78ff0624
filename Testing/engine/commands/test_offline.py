"""Docs/it.md: denoising opens no connection and no port."""

from __future__ import annotations

import socket


def test_denoising_needs_no_network(denoise, scan, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    status, _ = denoise(scan, tmp_path / "out.nrrd", "--organ-strength", "lungs=0.5", "--prior", "maps")
    assert status == 0
