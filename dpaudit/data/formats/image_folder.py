"""A folder of images as a file of records: one folder for each class, and the path of an image is its id."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
PATH, CLASS = "path", "class"


@dataclass(frozen=True)
class ImageFolder:
    """Images by their paths.

    Args:
        where: the folder.
        paths: of the images in it, relative and with ``/``; the first part is the class.
        sources: the file of each image, or its pixels, shape (height, width) or (height, width, channels), uint8.

    >>> ImageFolder("pets", ("cat/1.png", "dog/2.png"), (Path("a"), Path("b"))).values("class").tolist()
    ['cat', 'dog']
    """

    where: str
    paths: Sequence[str]
    sources: Sequence[Path | npt.NDArray[np.uint8]]
    kind: str = "folder of images"
    suffix: str = ""
    id_name: str = PATH
    label_name: str = CLASS

    @classmethod
    def read(cls, folder: Path) -> "ImageFolder":
        """The images below a folder, hidden files aside.

        Raises:
            InputError: it holds none, an image that is in no folder of a class, or other files.
        """
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        paths = [path.relative_to(folder).as_posix() for path in files]
        wrong = [path for path in paths if PurePosixPath(path).suffix.lower() not in IMAGES]
        if wrong or not paths:
            held = f"holds {wrong[0]!r}" if wrong else "is empty"
            raise InputError(
                f"{folder} {held}: a folder must be images in one folder for each class ({', '.join(IMAGES)}), or a "
                "data set that the library datasets has saved (save_to_disk)."
            )
        loose = [path for path in paths if "/" not in path]
        if loose:
            raise InputError(f"{folder}: image {loose[0]!r} lies in no folder of a class.")
        return cls(str(folder), paths, files)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> list[str]:
        """Path and class."""
        return [PATH, CLASS]

    def values(self, name: str) -> npt.NDArray[Any]:
        """The paths, or the classes."""
        return np.array([path if name == PATH else path.partition("/")[0] for path in self.paths], object)

    def with_values(self, name: str, values: npt.NDArray[Any]) -> "ImageFolder":
        """The images at other paths, or in the folders of other classes."""
        paths = [str(value) for value in values]
        if name == CLASS:
            paths = [f"{to}/{path.partition('/')[2]}" for to, path in zip(paths, self.paths, strict=True)]
        return replace(self, paths=paths)

    def take(self, rows: IntArray) -> "ImageFolder":
        """Some of the images."""
        return replace(self, paths=[self.paths[row] for row in rows], sources=[self.sources[row] for row in rows])

    def followed_by(self, other: "ImageFolder") -> "ImageFolder":
        """The images of both."""
        return replace(self, paths=[*self.paths, *other.paths], sources=[*self.sources, *other.sources])

    def pixels(self, row: int) -> npt.NDArray[np.uint8]:
        """One image, uint8.

        Raises:
            InputError: it cannot be read.
        """
        from PIL import Image, UnidentifiedImageError

        source = self.sources[row]
        if not isinstance(source, Path):
            return source
        try:
            with Image.open(source) as image:
                plain = image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB")
                return np.asarray(plain, np.uint8)
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"cannot read {source} as an image.") from error

    def write(self, path: Path) -> None:
        """Copy the images to a folder, below the same paths; pixels become PNG files."""
        from PIL import Image

        try:
            for to, source in zip(self.paths, self.sources, strict=True):
                target = path / to
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(source, Path):
                    shutil.copyfile(source, target)
                else:
                    Image.fromarray(source).save(target, "PNG")
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
