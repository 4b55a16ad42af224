"""Bytes of a delivered file → records, each with its place: what the file says, before anything is typed."""
