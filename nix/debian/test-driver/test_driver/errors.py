"""What goes wrong in a test."""


class MachineError(Exception):
    """A machine or its QEMU did not do what the driver needs."""


class RequestedAssertionFailed(AssertionError):
    """Something that the script demanded did not come true."""
