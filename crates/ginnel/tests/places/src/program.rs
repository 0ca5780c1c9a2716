//! A program. It writes to the file that its argument names, because its descriptors may be closed.

mod work;

fn main() {
    let path = std::env::args_os().nth(1).expect("the file to write to");
    let text = match work::all() {
        Ok(lines) => lines.join("\n"),
        Err(error) => error.to_string(),
    };
    std::fs::write(path, text).expect("the file");
}
