# Raised at each release.
{
  version = "0.1.0";

  # No machine of this release believes that it is earlier: 2026-11-23, in seconds since the epoch.
  clockFloor = 1795392000;
}
