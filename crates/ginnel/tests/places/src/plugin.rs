//! A library in the process of another program.

mod work;

/// Does the work; the number of its lines, each of which it prints.
#[unsafe(no_mangle)]
pub extern "C" fn work() -> i32 {
    match work::all() {
        Ok(lines) => {
            println!("{}", lines.join("\n"));
            lines.len() as i32
        }
        Err(error) => {
            println!("{error}");
            -1
        }
    }
}
