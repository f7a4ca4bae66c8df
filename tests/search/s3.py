"""A real S3 server process on this machine."""

import atexit
import functools
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@functools.cache
def _address() -> str:
    """The server's, which starts at the first call and ends with this process: a start takes seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(server.wait)
    atexit.register(server.kill)  # the last one is called first
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    return f"http://127.0.0.1:{port}"


@contextmanager
def s3_server(bucket: str) -> Iterator[str]:
    """A server with an empty bucket, one at a time; the environment points to it meanwhile. Yields the bucket's URI."""
    from pyarrow import fs

    before = dict(os.environ)
    os.environ.update(SETTINGS, AWS_ENDPOINT_URL=_address())
    try:
        fs.FileSystem.from_uri(f"s3://{bucket}?allow_bucket_creation=true")[0].create_dir(bucket)
        yield f"s3://{bucket}"
    finally:
        os.environ.clear()
        os.environ.update(before)
        urllib.request.urlopen(urllib.request.Request(f"{_address()}/moto-api/reset", method="POST")).close()
