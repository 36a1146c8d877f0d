"""A certificate for the rows with TLS, made when it is needed."""

import subprocess


def make(path):
    """Writes a new key and a certificate for it into one file."""
    key, certificate = path.with_suffix(".key"), path.with_suffix(".certificate")
    kind = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command = ["openssl", "req", "-x509", *kind, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    path.write_text(key.read_text() + certificate.read_text())
    return path
