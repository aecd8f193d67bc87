"""Write the API page from the docstrings: python docs/api.py FOLDER."""

import sys
from pathlib import Path

import pdoc

import seer

for name in seer.__all__:
    getattr(seer, name)  # names load when they are first used, and pdoc shows what is loaded
pdoc.render.configure(docformat="google", show_source=False)
pdoc.pdoc("seer", output_directory=Path(sys.argv[1]))
print(f"wrote {Path(sys.argv[1]) / 'seer.html'}")
