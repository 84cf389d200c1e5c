//! Prints the kernel's cost per message against a bare event loop.
#![expect(clippy::print_stdout, reason = "an example prints")]

fn main() {
    let bench = oncesim::bench::kernel(1_000_000, 5);
    println!(
        "kernel {:.0} ns per message, bare loop {:.0} ns: {:.2} times",
        bench.kernel_ns,
        bench.bare_ns,
        bench.kernel_ns / bench.bare_ns
    );
}
