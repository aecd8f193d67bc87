"""Licences that weights can be shared under, by the identifiers of Hugging Face's model cards."""

from collections.abc import Mapping
from dataclasses import dataclass

MIT = """MIT License

Copyright (c) {year} {author}

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

BY_REFERENCE = """Copyright (c) {year} {author}

The files in this folder are under {name}, whose text is at
{address}
"""


@dataclass(frozen=True)
class Licence:
    """A licence by its name, and the address of its text; MIT's is short enough to stand in the folder."""

    name: str
    address: str | None = None

    def written(self, *, year: int, author: str) -> str:
        """Return the content of a LICENSE file."""
        text = MIT if self.address is None else BY_REFERENCE
        return text.format(year=year, author=author, name=self.name, address=self.address)


LICENCES: Mapping[str, Licence] = {
    "mit": Licence("the MIT License"),
    "apache-2.0": Licence("the Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    "cc-by-4.0": Licence("Creative Commons Attribution 4.0", "https://creativecommons.org/licenses/by/4.0/legalcode"),
    "cc0-1.0": Licence("CC0 1.0, no rights reserved", "https://creativecommons.org/publicdomain/zero/1.0/legalcode"),
}
