# The kernel's file that boot loaders start.
{ stdenv }:
# Type: kernelImage :: kernel -> string
kernel:
# Since nixpkgs 26.11 the kernel tells the file's name, before that the platform.
"${kernel}/${kernel.target or stdenv.hostPlatform.linux-kernel.target}"
