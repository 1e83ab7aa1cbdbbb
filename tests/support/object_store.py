"""An S3 service on loopback: moto's, with the environment by which boto, s3fs and Arrow's readers find it."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator

VARIABLES = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def object_store() -> Iterator[str]:
    """The address of an empty bucket; processes started meanwhile find it too."""
    import fsspec
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(VARIABLES | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"})
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        os.environ.pop(name, None)
    try:
        fsspec.filesystem("s3").clear_instance_cache()
        bucket = f"bucket-{secrets.token_hex(4)}"
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
        yield f"s3://{bucket}"
    finally:
        os.environ.clear()
        os.environ.update(before)
        fsspec.filesystem("s3").clear_instance_cache()
        server.stop()
