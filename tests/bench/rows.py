# SPDX-License-Identifier: Apache-2.0
"""The rows of the table: what is sent, over how many connections, to whom."""
import dataclasses

AUTH = {"cert13": "TLS 1.3, certificate", "cert12": "TLS 1.2, certificate", "psk12": "TLS 1.2, PSK", "dtls": "DTLS 1.2, PSK"}


@dataclasses.dataclass(frozen=True)
class Row:
    protocol: str
    auth: str
    connections: int
    window: int = 1
    active: int = 0              # requests under way over all sessions; 0: connections x window
    slow_ms: int = 0             # added to every sync
    rivals: tuple = ()           # who is measured beside the gateway
    ours: bool = True

    @property
    def key(self):
        slow = f"-slow{self.slow_ms}" if self.slow_ms else ""
        return f"{self.protocol}-{self.auth}-{self.connections}x{self.window}" + (f"-active{self.active}" if self.active else "") + slow

    @property
    def title(self):
        if self.protocol == "mqtt":
            return f"MQTT QoS 1, {AUTH[self.auth]}, {self.connections:,} x {self.window}"
        active = f", {self.active} at a time" if self.active else ""
        return f"CoAP CON, {AUTH[self.auth]}, {self.connections:,} sessions{active}"

    def contenders(self):
        return (("vitalgate",) if self.ours else ()) + self.rivals


def mqtt(auth, *shapes, slow_ms=0):
    rivals = () if slow_ms else ("mosquitto",)
    return [Row("mqtt", auth, connections, window, slow_ms=slow_ms, rivals=rivals) for connections, window in shapes]


def coap(sessions, active, slow_ms=0, rivals=()):
    return Row("coap", "dtls", sessions, active=active, slow_ms=slow_ms, rivals=rivals)


FULL = [
    *mqtt("cert13", (4, 50), (100, 10), (100, 1), (500, 1), (5000, 1)),
    *mqtt("cert12", (4, 50), (100, 10), (100, 1)),
    *mqtt("psk12", (4, 50), (100, 10), (100, 1), (5000, 1)),
    coap(100, 64, rivals=("coap-server",)),
    coap(1000, 64),
    coap(10000, 64),
    coap(1000, 512),
    coap(10000, 512),
    *mqtt("cert13", (4, 50), (100, 10), (500, 1), slow_ms=10),
    *mqtt("psk12", (5000, 1), slow_ms=10),
    coap(1000, 1000, slow_ms=10),
]

SMOKE = [
    *mqtt("cert13", (4, 5)),
    *mqtt("psk12", (10, 1)),
    coap(20, 8),
    coap(20, 20, slow_ms=10),
]

QUICK = [
    *mqtt("cert13", (4, 50), (100, 1)),
    *mqtt("psk12", (100, 10)),
    coap(100, 64, rivals=("coap-server",)),
    coap(1000, 64),
    *mqtt("cert13", (100, 10), slow_ms=10),
]
