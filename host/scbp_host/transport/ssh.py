"""The device is reached over SSH. The only file that knows paramiko.

The host key is pinned: it is compared with the profile's, exactly, and before any login. Nothing is accepted on first
use, nothing is read from ~/.ssh, and nothing is forwarded. Every call has a deadline of our own (see ``streams``).
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shlex
import socket
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self, TypeVar

import paramiko
from paramiko import ssh_exception

from scbp_host.domain.deadline import Deadline
from scbp_host.domain.device import DeviceProfile, SshAddress
from scbp_host.errors import (
    ConfigError,
    DeviceError,
    DeviceTimeout,
    DeviceUnreachable,
    HostKeyError,
    LoginError,
)
from scbp_host.profiles import require_address
from scbp_host.transport.base import probe_hint
from scbp_host.transport.streams import StreamChannel, within

T = TypeVar("T")

# paramiko logs what it raises as well; without a handler of ours, logging would print that to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# Connecting, banner, key exchange and login, each; and all of them together.
_STEP_S = 10.0
_CONNECT_S = 45.0
# A connection over which nothing comes for so long is probed, so that a board that lost power is noticed.
_KEEPALIVE_S = 10

# What each exception of paramiko (and of the sockets below it) means; the nearest class in its MRO counts.
MEANINGS: dict[type[Exception], tuple[type[DeviceError], str]] = {
    ssh_exception.SSHException: (DeviceUnreachable, "the SSH connection failed"),
    ssh_exception.AuthenticationException: (LoginError, "the board refused the user or the key"),
    ssh_exception.PasswordRequiredException: (LoginError, "the private key is protected by a passphrase"),
    ssh_exception.BadAuthenticationType: (LoginError, "the board does not let this user in with a key"),
    ssh_exception.PartialAuthentication: (LoginError, "the board wants more than a key"),
    ssh_exception.UnableToAuthenticate: (LoginError, "the board refused every key"),
    ssh_exception.ChannelException: (DeviceUnreachable, "the board refused to open a channel"),
    ssh_exception.BadHostKeyException: (HostKeyError, "the host key has changed"),
    ssh_exception.IncompatiblePeer: (DeviceError, "the board's SSH server shares no algorithm with paramiko"),
    ssh_exception.ProxyCommandFailure: (DeviceUnreachable, "the proxy command failed"),
    ssh_exception.NoValidConnectionsError: (DeviceUnreachable, "nothing accepts connections there"),
    ssh_exception.CouldNotCanonicalize: (DeviceUnreachable, "the host name cannot be resolved"),
    ssh_exception.ConfigParseError: (DeviceError, "the SSH configuration is wrong"),
    ssh_exception.MessageOrderError: (DeviceError, "messages came out of order, which strict key exchange forbids"),
    paramiko.SFTPError: (DeviceError, "the board's SFTP server sent something unexpected"),
    socket.gaierror: (DeviceUnreachable, "the host name cannot be resolved"),
    TimeoutError: (DeviceTimeout, "no answer in time"),
    OSError: (DeviceUnreachable, "no connection"),
    EOFError: (DeviceUnreachable, "the connection was closed"),
}


_PARAMIKO_ERRORS = tuple(MEANINGS)

# A host key named on the left signs with the algorithms on the right; all others sign with the one of their name.
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}

_PIN_HINT = """\
on the board itself, run: for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done
only if it says {fingerprint} there, {remedy}"""
_PIN_IN_FILE = 'put this line under [ssh] in {source}:\nhost_key = "{key}"'
_PIN_ON_COMMAND_LINE = 'add: --host-key "{key}"'


def to_device_error(device: str, error: Exception, where: str = "") -> DeviceError:
    """Return what an exception of paramiko or its sockets means to the user; raises StopIteration for any other.

    Args:
        device: the profile's name.
        error: one of :data:`MEANINGS`, or of a class derived from one.
        where: the address, for the message.
    """
    kind, meaning = next(MEANINGS[base] for base in type(error).__mro__ if base in MEANINGS)
    detail = str(error).strip()
    facts = "; ".join(part for part in (where, detail) if part)
    return kind(f"{device}: {meaning}" + (f" ({facts})" if facts else ""), probe_hint(device))


class SshTransport:
    """See :class:`scbp_host.transport.base.Transport`.

    Raises:
        ConfigError: the profile has no address, no way to log in, or a key that cannot be read.
    """

    def __init__(self, profile: DeviceProfile) -> None:
        self._device = profile.name
        self._source = profile.source
        self._address = require_address(profile)
        self._private_key = _private_key(profile, self._address)
        self._transport: paramiko.Transport | None = None
        self._sftp: paramiko.SFTPClient | None = None
        self._folders: set[PurePosixPath] = set()

    def __enter__(self) -> Self:
        try:
            self._bounded(Deadline.after(_CONNECT_S), "connecting", self._connect)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, content: bytes | Path, path: str, deadline: Deadline) -> None:
        """Write a file, all of it or nothing."""
        self._bounded(deadline, f"uploading {path}", lambda: self._put(content, path))

    def open_channel(self, argv: Sequence[str], deadline: Deadline) -> StreamChannel:
        """Start a process; every element of ``argv`` is quoted for the login shell."""
        channel = self._bounded(deadline, f"starting {argv[0]}", lambda: self._execute(shlex.join(argv)))
        return StreamChannel(self._device, channel.sendall, channel.recv, channel.recv_stderr, channel.close)

    def close(self) -> None:
        """Close the connection and every channel of it."""
        if self._transport is not None:
            self._transport.close()
        self._transport = self._sftp = None

    def _bounded(self, deadline: Deadline, doing: str, call: Callable[[], T]) -> T:
        """Run a blocking call of paramiko's under our deadline, and translate what it raises."""
        try:
            return within(deadline, self._device, doing, call)
        except DeviceTimeout:
            self.close()  # which also frees the thread that is stuck in the call
            raise
        except _PARAMIKO_ERRORS as error:
            raise to_device_error(self._device, error, f"{self._address.host}:{self._address.port}") from error

    def _connect(self) -> None:
        connection = socket.create_connection((self._address.host, self._address.port), _STEP_S)
        self._transport = transport = paramiko.Transport(connection)
        transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = _STEP_S
        _prefer_host_key_type(transport, self._address.host_key)
        # Banner and key exchange; the longer limit, so that a missing banner is told as such.
        transport.start_client(timeout=2 * _STEP_S)
        self._check_host_key(transport.get_remote_server_key())
        _log_in(transport, self._address, self._private_key)
        transport.set_keepalive(_KEEPALIVE_S)

    def _check_host_key(self, key: paramiko.PKey) -> None:
        seen = [key.get_name(), key.get_base64()]
        pinned = self._address.host_key.split()[:2]
        if seen == pinned:
            return
        where = f"{self._address.host}:{self._address.port}"
        if pinned:
            message = (
                f"{self._device}: the host key of {where} has changed: it is not the pinned one, but {key.fingerprint}"
            )
        else:
            message = f"{self._device}: the host key of {where} is not pinned yet; it shows {key.fingerprint}"
        # A board that is reached by its address alone has no file yet.
        remedy = (_PIN_IN_FILE if self._source else _PIN_ON_COMMAND_LINE).format(
            key=" ".join(seen), source=self._source
        )
        raise HostKeyError(message, _PIN_HINT.format(fingerprint=key.fingerprint, remedy=remedy))

    def _execute(self, command: str) -> paramiko.Channel:
        channel = self._connected().open_session()
        channel.exec_command(command)
        return channel

    def _connected(self) -> paramiko.Transport:
        if self._transport is None or not self._transport.is_active():
            raise EOFError("the connection is closed")
        return self._transport

    def _put(self, content: bytes | Path, path: str) -> None:
        part = f"{path}.{secrets.token_hex(4)}.part"
        with content.open("rb") if isinstance(content, Path) else BytesIO(content) as source:
            sftp = self._open_sftp()
            try:
                self._make_folders(sftp, PurePosixPath(path).parent)
                sftp.putfo(source, part)
                sftp.posix_rename(part, path)
            except _PARAMIKO_ERRORS as error:
                with contextlib.suppress(*_PARAMIKO_ERRORS):
                    sftp.remove(part)
                # An open channel means that the server has answered: it refused, the connection is fine.
                if isinstance(error, OSError) and not sftp.get_channel().closed:
                    raise self._refused(path, error) from error
                raise

    def _refused(self, path: str, error: OSError) -> DeviceError:
        hint = f"check permissions and free space there; {probe_hint(self._device)}"
        return DeviceError(f"{self._device}: cannot write {path}: {error.strerror or error}", hint)

    def _open_sftp(self) -> paramiko.SFTPClient:
        if self._sftp is None or self._sftp.get_channel().closed:
            self._sftp = paramiko.SFTPClient.from_transport(self._connected())
        return self._sftp

    def _make_folders(self, sftp: paramiko.SFTPClient, folder: PurePosixPath) -> None:
        if folder in self._folders:
            return
        for part in reversed([folder, *folder.parents]):
            try:
                sftp.stat(str(part))
            except FileNotFoundError:
                sftp.mkdir(str(part))
        self._folders.add(folder)


def _private_key(profile: DeviceProfile, address: SshAddress) -> paramiko.PKey | None:
    if address.key is None:
        if not address.allow_agent:
            message = f"{profile.source}: key 'ssh.key': missing; expected a private key's file, or allow_agent = true"
            raise ConfigError(message)
        return None
    try:
        return paramiko.PKey.from_path(address.key)
    except TypeError as error:  # cryptography's word for a passphrase that was not given
        hint = f"run: ssh-add {address.key}, and put allow_agent = true in the place of key"
        raise ConfigError(f"{address.key}: expected a key without a passphrase", hint) from error
    except (OSError, ValueError, paramiko.UnknownKeyType, ssh_exception.SSHException) as error:
        raise ConfigError(f"{profile.source}: key 'ssh.key': expected a private key's file: {error}") from error


def _prefer_host_key_type(transport: paramiko.Transport, host_key: str) -> None:
    """Make a server that has several host keys show the one of the pinned type."""
    name = host_key.partition(" ")[0]
    options = transport.get_security_options()
    wanted = [kind for kind in options.key_types if kind in _SIGNATURES.get(name, (name,))]
    options.key_types = [*wanted, *(kind for kind in options.key_types if kind not in wanted)]


def _log_in(transport: paramiko.Transport, address: SshAddress, private_key: paramiko.PKey | None) -> None:
    """Try the profile's key, and those of a running ssh-agent where the profile allows it."""
    with contextlib.ExitStack() as stack:
        keys = [] if private_key is None else [private_key]
        if address.allow_agent:
            keys += stack.enter_context(contextlib.closing(paramiko.Agent())).get_keys()
        refusal = ssh_exception.UnableToAuthenticate("the ssh-agent holds no key")
        for key in keys:
            try:
                if more := transport.auth_publickey(address.user, key):
                    raise ssh_exception.PartialAuthentication(more)
                return
            except ssh_exception.AuthenticationException as error:
                refusal = error
        raise refusal
