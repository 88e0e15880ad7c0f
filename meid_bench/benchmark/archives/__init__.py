"""Untrusted zip and tar files, on the disk or on a server: checked, then copied out."""
