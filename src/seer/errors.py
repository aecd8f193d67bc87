"""The one exception that means "the user can fix this"; the command line prints it as a single line."""


class SettingError(ValueError):
    """A setting, file or folder the program can't work with.

    The message is one line: what is wrong, the setting's name, and the remedy.
    """
