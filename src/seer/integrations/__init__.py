"""SEER inside other libraries: one package per library, each needing its own extra."""
