//! `/init`. The boot order is in the library, where fuzz targets reach the parsers too.

fn main() -> std::process::ExitCode {
    tinyboot_init::main()
}
