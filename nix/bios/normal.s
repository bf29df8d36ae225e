# Takes the place of GRUB's module "normal" (menus, scripts, networking: 75 KB of a compressed image), of which the module
# "linux" uses this one function: a pause after a message, which a machine without an operator does not want.
        .section .modname, "a"
        .asciz "normal"
        # The loader takes modules under GNU's licence alone, with which this file's MIT licence is compatible.
        .section .module_license, "a"
        .asciz "LICENSE=GPLv3+"
        .text
        .globl grub_wait_after_message
        .type grub_wait_after_message, @function
grub_wait_after_message:
        ret
