#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tinyboot_init::fuzz::dhcp6(data));
