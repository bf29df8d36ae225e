"""Runs test scripts for virtual machines: the part of NixOS's test driver that guests without a shell can use.

Names, arguments and meanings are those of the NixOS driver, so that a script runs under both; what that driver does
not have, this one must not have either.
"""
