"""The table of transports."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from scbp_host.errors import ConfigError, UnknownNameError
from scbp_host.profiles import load_profile
from scbp_host.transport.base import open_transport


def test_an_unknown_transport_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no transport 'shh' .*ssh.*known: local, ssh"):
        open_transport(replace(load_profile("local"), transport="shh"))


def test_a_board_without_an_address_names_the_file_to_write() -> None:
    with pytest.raises(ConfigError, match=r"devices/jetson-nano\.toml"):
        open_transport(load_profile("jetson-nano"))


def test_a_local_run_never_imports_paramiko() -> None:
    program = (
        "import sys; from scbp_host.transport.base import open_transport; from scbp_host.profiles import load_profile;"
        "open_transport(load_profile('local')).close(); sys.exit('paramiko' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
