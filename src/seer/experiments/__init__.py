"""Comparing runs: pictures and tables from the folders that training leaves."""
