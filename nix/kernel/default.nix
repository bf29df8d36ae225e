# nixpkgs' kernel, trimmed. It depends on no app, so that one kernel serves every image.
{
  linuxManualConfig,
  linux_6_12,
  kernelConfig,
}:
linuxManualConfig {
  pname = "linux-tinyboot";
  inherit (linux_6_12) version modDirVersion src;
  configfile = kernelConfig;
  # Said here so that nobody has to build the configuration to evaluate the kernel.
  config = {
    CONFIG_MODULES = "y";
    CONFIG_64BIT = "y";
  };
}
