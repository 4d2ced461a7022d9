# SPDX-License-Identifier: Apache-2.0
"""InfluxDB 1.x (Debian's package influxdb) for the series benchmark: a server of its own on loopback, in a folder of its own."""
import pathlib
import socket
import subprocess
import time

# As Debian ships it, but: no reporting, no self-monitoring, no logs of requests; and what its cache holds is written and compacted after seconds of silence instead of minutes and hours, so that
# its size on disk is its best.
CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
  cache-snapshot-write-cold-duration = "3s"
  compact-full-write-cold-duration = "3s"
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
[logging]
  level = "error"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Influx:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        config = self.folder / "influxdb.conf"
        config.write_text(CONFIG.format(folder=self.folder, port=self.port, rpc=free_port()))
        with open(self.folder / "log", "wb") as log:
            self.child = subprocess.Popen(["influxd", "run", "-config", str(config)], stdout=log, stderr=log)
        self.wait()

    def wait(self):
        end = time.monotonic() + 60
        while not is_listening(self.port):
            if self.child.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError("InfluxDB did not start:\n" + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    @staticmethod
    def version():
        return subprocess.run(["influxd", "version"], capture_output=True, text=True).stdout.split(" (")[0].strip()
