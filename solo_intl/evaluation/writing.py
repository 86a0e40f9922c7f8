"""Files that appear only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from solo_intl.errors import UserError


def write_all(out_dir: Path, writers: dict[str, Callable[[Path], None]]) -> list[Path]:
    """Write every file under a temporary name, then rename them all; on failure leave nothing new behind.

    Args:
        out_dir: folder, created when missing.
        writers: for each file name, what writes that file's content to the path it is given.

    Returns:
        The paths written.

    Raises:
        UserError: `out_dir` can't be written, or a name is taken by a folder.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = write_all(Path(folder), {"a.txt": lambda path: path.write_text("x") and None})
        ...     print([path.name for path in paths], paths[0].read_text())
        ['a.txt'] x
    """
    created = not out_dir.exists()
    temporary: dict[Path, Path] = {}
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for name, write in writers.items():
            if (out_dir / name).is_dir():
                raise UserError(
                    f"{out_dir / name}: found a folder; accepted: no such name, or a file to replace"
                )
            handle, temp = tempfile.mkstemp(dir=out_dir, prefix=".", suffix=f".{name}.tmp")
            os.close(handle)
            temporary[Path(temp)] = out_dir / name
            write(Path(temp))
        for temp_path, path in temporary.items():
            temp_path.chmod(0o666 & ~_umask())  # mkstemp's own mode is private
            temp_path.replace(path)
    except BaseException as error:
        for temp_path in temporary:
            temp_path.unlink(missing_ok=True)
        if created and out_dir.is_dir() and not any(out_dir.iterdir()):
            out_dir.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"{out_dir}: can't be written ({error.strerror or error})") from error
        raise
    return list(temporary.values())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
