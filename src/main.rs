//! `lachan`: see `lachan --help`. Everything is in the library; this is its door.

fn main() -> std::process::ExitCode {
    lachan::cli::main()
}
