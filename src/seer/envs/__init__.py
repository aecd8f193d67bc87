"""Environments that show pixels, all behind the one interface of `PixelEnvironment` (`base.py`)."""
