"""Whether a server knows a device's key, asked as the device would ask, and without joining."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from edgefed.deploy.handshake import HandshakeError, SignatureError, UnreachableError
from edgefed.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def key_is_known(server: str, authority: Path, key: Path) -> bool:
    """Return whether the server at ``HOST:PORT`` has a device's key registered.

    The question is an activation that cannot succeed, with a heartbeat of no seconds: Flower looks the key up first.

    Raises
    ------
    SettingsError
        For a key file that Flower cannot read.
    SignatureError
        Where the server does not believe the signature, which a clock that is off makes it do.
    HandshakeError
        Where it refuses for another reason.
    UnreachableError
        Where it does not answer.
    """
    try:
        private = load_ssh_private_key(key.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{key}: not a private key in OpenSSH's format ({error}); provision the device again"
        ) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise SettingsError(f"{key}: not an elliptic-curve key; provision the device again")
    public = private.public_key()
    client = FleetHttpClient.from_server_address(
        server,
        insecure=False,
        root_certificates=authority.read_bytes(),
        interceptors=(
            RuntimeVersionHttpInterceptor(component_name="edgefed"),
            NodeAuthHttpInterceptor(private, public),
        ),
    )
    try:
        client.ActivateNode(ActivateNodeRequest(public_key=public_key_to_bytes(public), heartbeat_interval=0))
    except httpx.HTTPStatusError as error:
        told = FlowerError.from_json(error.response.text)
        code = told.code if told else None
        if code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
            return True
        if code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
            return False
        if error.response.status_code == httpx.codes.UNAUTHORIZED:
            raise SignatureError(
                f"{server} does not believe this device's signature: is a clock off? (edgefed doctor compares them)"
            ) from None
        raise HandshakeError(f"{server} refuses with status {error.response.status_code}") from None
    except httpx.TransportError as error:
        raise UnreachableError(f"{server} does not answer ({error})") from None
    finally:
        client.close()
    return True
