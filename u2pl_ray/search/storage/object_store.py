"""Read and write whole objects below a URI: s3://, and every other scheme that pyarrow (and so Ray Train) takes."""

from contextlib import suppress

from u2pl_ray.config.errors import UserError
from u2pl_ray.system.stores import NO_BUCKET, open_store, why


def child(uri: str, name: str) -> str:
    """Return the URI of a name below a URI.

    Args:
        uri: with or without a slash at its end.
        name: may contain slashes.
    """
    return f"{uri.rstrip('/')}/{name}"


def parent(uri: str) -> tuple[str, str]:
    """Split a URI into the URI above it and its last part."""
    above, _, name = uri.rstrip("/").rpartition("/")
    return above, name


class Objects:
    """The objects below a URI, by relative name. A write replaces an object at once or not at all, as S3 does it.

    Args:
        uri: such as s3://bucket/prefix; credentials come from the environment, as the store's own tools take them.

    Raises:
        UserError: not a URI of a storage, or credentials are in it (they would be stored and printed with it).
    """

    def __init__(self, uri: str) -> None:
        try:
            self._filesystem, self._root = open_store(uri)
        except ValueError as error:
            raise UserError(f"--storage-path {error}") from None
        self.uri = uri

    def read(self, name: str) -> bytes | None:
        """Return the object's content, None if there is no such object."""
        try:
            with self._filesystem.open_input_stream(f"{self._root}/{name}") as stream:
                content: bytes = stream.read()
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Create or replace an object.

        Args:
            name: relative to the URI.
            content: the whole object.
        """
        with self._filesystem.open_output_stream(f"{self._root}/{name}") as stream:
            stream.write(content)

    def delete(self, name: str) -> None:
        """Delete the object if there is one."""
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self._root}/{name}")

    def touched(self, name: str) -> float:
        """Return when the object was written (seconds since 1970, by the store's clock), 0 if there is none."""
        info = self._filesystem.get_file_info(f"{self._root}/{name}")
        return (info.mtime_ns or 0) / 1e9

    def exists(self, name: str) -> bool:
        """Tell whether there is such an object, or one below that name."""
        from pyarrow import fs

        return bool(self._filesystem.get_file_info(f"{self._root}/{name}").type != fs.FileType.NotFound)

    def names(self) -> list[str]:
        """List the names of all objects, relative to the URI."""
        return list(self.versions())

    def versions(self) -> dict[str, tuple[int, int]]:
        """List all objects: size, and time of the last write (ns, by the store's clock), by name relative to the URI.

        A store may tell the time in whole seconds.
        """
        from pyarrow import fs

        selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        found = [info for info in self._filesystem.get_file_info(selector) if info.is_file]
        return {info.path[len(self._root) + 1 :]: (info.size, info.mtime_ns or 0) for info in found}

    def folders(self) -> list[str]:
        """List the names directly below the URI that have objects below them."""
        from pyarrow import fs

        selector = fs.FileSelector(self._root, allow_not_found=True)
        found = self._filesystem.get_file_info(selector)
        return [info.base_name for info in found if info.type == fs.FileType.Directory]

    def check(self) -> None:
        """Write an object, read it back, and delete it.

        Raises:
            UserError: one of the three steps failed.
        """
        import uuid

        name = f".u2pl-ray.{uuid.uuid4().hex[:8]}"
        try:
            self.write(name, b"u2pl-ray")
            if self.read(name) != b"u2pl-ray":
                raise OSError("what was written cannot be read back")
            self.delete(name)
        except OSError as error:
            raise UserError(f"--storage-path {self.uri}: {why(error)}") from None

    def check_bucket(self) -> None:
        """Refuse a bucket that does not exist, which looks like an empty one.

        Raises:
            UserError: there is none, or the store does not say.
        """
        from pyarrow import fs

        bucket = self._root.partition("/")[0]
        try:
            found = self._filesystem.get_file_info(bucket).type != fs.FileType.NotFound
        except OSError as error:
            raise UserError(f"{self.uri}: {why(error)}") from None
        if not found and self.uri.startswith("s3://"):
            raise UserError(f"{self.uri}: {NO_BUCKET}")
