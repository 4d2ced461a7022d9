# SPDX-License-Identifier: Apache-2.0
"""A small certificate authority with openssl, for development and tests: EC P-256, addresses in the SAN."""
import os
import pathlib
import secrets
import subprocess


def _openssl(*args, stdin=None):
    done = subprocess.run(["openssl", *args], input=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {args[0]} failed: {done.stderr.strip()}")
    return done.stdout


class Pki:
    """Files below `folder`: ca.pem, and NAME.pem with NAME.key for every certificate made. What exists is kept, and is whole,
    whenever it was interrupted.

    The authority's own key lies beside the folder, in ca/: who may read the folder cannot issue certificates.
    """

    def __init__(self, folder, name="Vitalgate development CA"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ca, self.ca_key = self.folder / "ca.pem", self.folder.parent / "ca" / "ca.key"
        if not self.ca.exists() or not self.ca_key.exists():
            self.ca_key.parent.mkdir(exist_ok=True, mode=0o700)
            for old in self.folder.glob("*.pem"):  # a new authority's certificates are new too
                old.unlink()
            self._key(self.ca_key)
            _openssl("req", "-x509", "-new", "-key", str(self.ca_key), "-sha256", "-days", "3650", "-subj", f"/CN={name}",
                     "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                     "-out", str(self.ca) + ".part")
            os.replace(str(self.ca) + ".part", self.ca)

    @staticmethod
    def _key(path):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path))
        path.chmod(0o600)

    def issue(self, name, common_name=None, names=(), addresses=(), server=False, days=825):
        """Returns (certificate, key) paths."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if certificate.exists() and key.exists():
            return certificate, key
        self._key(key)
        san = ",".join([f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses])
        extension = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature",
                     f"extendedKeyUsage={'serverAuth' if server else 'clientAuth'}"]
        if san:
            extension.append(f"subjectAltName={san}")
        request = _openssl("req", "-new", "-key", str(key), "-subj", f"/CN={common_name or name}")
        extensions = self.folder / f"{name}.ext"
        extensions.write_text("\n".join(extension) + "\n")
        _openssl("x509", "-req", "-CA", str(self.ca), "-CAkey", str(self.ca_key), "-set_serial", f"0x{secrets.token_hex(15)}", "-sha256",
                 "-days", str(days), "-extfile", str(extensions), "-out", str(certificate) + ".part", stdin=request)
        extensions.unlink()
        os.replace(str(certificate) + ".part", certificate)
        return certificate, key
