"""Files that browsers send: on disk on their way in, whatever their size, so that none is held in memory."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from mosu.store.rules import DOCUMENT_BYTES_MAX
from mosu.store.services import temporary_file

_AROUND_BYTES: Final = 1 << 20
"""What a form puts around its file."""
DOCUMENTS_PATH: Final = "/organisation/documents/"
IMPORTS_PATH: Final = "/my-offers/imports/"
OFFERS_BYTES_MAX: Final = 64 << 20
"""Of a file of offers that a browser sends; the command sends larger ones."""
BODY_BYTES_MAX: Final[Mapping[str, int]] = MappingProxyType(
    {
        DOCUMENTS_PATH: DOCUMENT_BYTES_MAX + _AROUND_BYTES,
        IMPORTS_PATH: OFFERS_BYTES_MAX + _AROUND_BYTES,
    }
)
"""The forms that send a file, and how much with all that is around it. Every other form has the settings' limit."""


class OnDisk(FileUploadHandler):
    """Each file of a form in a file of the data folder, which is gone when it is closed.

    Django's own puts it where the system keeps temporary files: on many machines that is memory.
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._file = temporary_file()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self._file.write(raw_data)
        return None

    def file_complete(self, file_size: int) -> "UploadedFile[Any]":
        self._file.seek(0)
        return UploadedFile(
            self._file, self.file_name, self.content_type, file_size, self.charset, self.content_type_extra
        )

    def upload_interrupted(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
