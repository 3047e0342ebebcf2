"""A way over TLS, as it is wherever a hub is not on this machine."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.patience import PATIENCE_S
from websockets.asyncio.server import ServerConnection, serve

from mosu.wire.opening import ClientWay, opened
from mosu.wire.websocket import Bytes


class Slow:
    """Takes a rest after each tenth message."""

    def __init__(self, way: ClientWay) -> None:
        self.came, self.count, self.way = bytearray(), 0, way
        self.room = asyncio.Event()
        way.begin(self)

    def taken(self, message: Bytes) -> None:
        self.came += message
        self.count += 1
        if self.count % 10 == 0:
            self.way.hold()
            asyncio.get_running_loop().call_later(0.001, self.way.go_on)

    def text_came(self) -> None: ...

    def has_room(self) -> None:
        self.room.set()

    def lost(self) -> None: ...


def certificate(folder: Path) -> Path:
    """Of this machine's own address, with its key."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")]),
    )
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "hub.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def test_all_of_it_comes_back_over_tls_however_slowly_it_is_taken(tmp_path: Path) -> None:
    file = certificate(tmp_path)
    here, there = ssl.create_default_context(cafile=file), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(file)
    sent = [bytes([number % 251]) * (number * 37) for number in range(600)]

    async def echo(way: ServerConnection) -> None:
        await way.send(b"banner")
        async for message in way:
            await way.send(message)

    async def tried() -> None:
        async with serve(echo, "127.0.0.1", 0, ssl=there, compression=None) as server:
            way = await opened(f"wss://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/", ssl=here)
            assert way.is_unseen
            await asyncio.sleep(0.02)
            slow = Slow(way)
            for message in sent:
                slow.room.clear()
                way.put(message)
                while way.is_full:
                    await slow.room.wait()
                    slow.room.clear()
            wanted = b"banner" + b"".join(sent)
            async with asyncio.timeout(PATIENCE_S):
                while len(slow.came) < len(wanted):
                    await asyncio.sleep(0.001)
            assert slow.came == wanted
            await way.close()

    asyncio.run(tried())
